"""Prompt wordings from `data/prompts/*.toml`, and the items that they make from a question.

A wording puts the parts of a question into a template. Options are listed by label, one per line. SHA-256 of
a seed and the item's id shuffles them, so their order depends neither on the file, nor on the selection of
items, nor on the batch.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from culnig.core.data_files import read_toml
from culnig.core.items import JSON_ANSWER_PREFIX, Item, Normalization, Split
from culnig.errors import DataFileError

PLACEHOLDER = re.compile(r"\{(\w+)\}")
T = TypeVar("T")


@dataclass(frozen=True)
class Wording:
    """One layout of a question, its options and the instruction."""

    id: str
    labels: tuple[str, ...]
    """Labels of the options in the order shown; there may be more labels than options."""
    option: str
    """One line of the options, with `{label}` and `{name}`."""
    template: str
    """The user turn."""
    system: str = ""
    """The system turn, empty for none."""

    def options(self, names: Sequence[str]) -> str:
        """The options, one per line."""
        pairs = zip(self.labels, names, strict=False)
        return "\n".join(fill(self.option, {"label": label, "name": name}) for label, name in pairs)

    def label_list(self, n: int) -> str:
        """The first `n` labels as text: `A, B or C`."""
        *head, last = self.labels[:n]
        return f"{', '.join(head)} or {last}" if head else last


def read_wordings(path: Path, parts: set[str], *, n_labels: int) -> list[Wording]:
    """Wordings in file order; DataFileError names the wording that is malformed.

    Every template must contain each of `parts` as a placeholder, and every wording at least `n_labels`
    different labels. A template may contain the list of labels as `{labels}`.
    """
    wordings: list[Wording] = []
    columns: Mapping[str, type] = {"id": str, "labels": list, "option": str, "template": str}
    for where, table in read_tables(path, "wordings", columns, optional={"system": str}):
        labels = tuple(table["labels"])
        texts = all(isinstance(label, str) and label for label in labels)
        if not texts or not n_labels <= len(set(labels)) == len(labels):
            raise DataFileError(path, f"{where}: labels must be at least {n_labels} different texts")
        line = {"label", "name"}
        system = table.get("system", "")
        in_system = set(PLACEHOLDER.findall(system)) & parts
        required = parts - in_system
        check_placeholders(path, f"{where}: template", table["template"], required, parts | {"labels"})
        check_placeholders(path, f"{where}: system", system, set(), parts)
        check_placeholders(path, f"{where}: option", table["option"], line, line)
        if "answer_choice" not in table["template"]:
            raise DataFileError(path, f"{where}: template must ask for JSON with answer_choice")
        template = table["template"].strip()
        wordings.append(Wording(table["id"], labels, table["option"], template, system.strip()))
    return wordings


def label_items(
    wordings: Sequence[Wording],
    parts: Mapping[str, str],
    names: Sequence[str],
    right: int | Sequence[int],
    *,
    question_id: str,
    culture: str,
    split: Split,
    topic: str = "",
    shuffle: bool,
    seed: int = 0,
    ordinal: bool = False,
    distribution: Sequence[float] = (),
    together: str = "",
    likelihood: Normalization | None = None,
    delimiter: str = " ",
) -> Iterator[Item]:
    """One item per wording, for a question with the options `names`.

    `right` is the index of the right option, or of several, of which the first is the gold answer.
    `distribution` has the share of each option. Items of one wording with the same `together` are right or
    wrong together. With `likelihood` the options are texts after the prompt and `delimiter`, and not shown.
    """
    gold, *also = [right] if isinstance(right, int) else right
    for wording in wordings:
        item_id = f"{question_id}/{wording.id}"
        shown = range(len(names))
        order = shuffled(shown, f"{seed}\n{item_id}") if shuffle and not likelihood else list(shown)
        values = {
            **parts,
            "options": wording.options([names[index] for index in order]),
            "labels": wording.label_list(len(names)),
        }
        labels = tuple(names) if likelihood else wording.labels[: len(names)]
        yield Item(
            id=item_id,
            question_id=question_id,
            culture=culture,
            split=split,
            prompt=fill(wording.template, values),
            options=labels,
            answer=labels[order.index(gold)],
            also_right=tuple(labels[order.index(index)] for index in also),
            distribution=tuple(distribution[index] for index in order) if distribution else (),
            together=f"{together}/{wording.id}" if together else "",
            topic=topic,
            system=fill(wording.system, values) or None,
            ordinal=ordinal,
            likelihood=likelihood,
            answer_prefix=delimiter if likelihood else JSON_ANSWER_PREFIX,
        )


def shuffled(values: Sequence[T], seed: str) -> list[T]:
    """The values in an order that depends only on the seed and their number."""
    ranks = [hashlib.sha256(f"{seed}\n{index}".encode()).digest() for index in range(len(values))]
    return [values[index] for index in sorted(range(len(values)), key=ranks.__getitem__)]


def fill(template: str, values: Mapping[str, str]) -> str:
    """Replace the placeholders in one pass; `str.format` would fail on the braces of JSON."""
    return PLACEHOLDER.sub(lambda match: values[match[1]], template)


def read_tables(
    path: Path, name: str, columns: Mapping[str, type], optional: Mapping[str, type] | None = None
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The tables of an array, each with its name for error messages; their columns must match exactly."""
    tables = read_toml(path).get(name)
    optional = optional or {}
    if not tables or not isinstance(tables, list) or not all(isinstance(t, dict) for t in tables):
        raise DataFileError(path, f"must hold an array of tables [[{name}]]")
    kind, seen = name.removesuffix("s"), set()
    for number, table in enumerate(tables, start=1):
        where = f"{kind} {table['id']!r}" if "id" in table else f"{kind} number {number}"
        if set(table) - set(optional) != set(columns):
            fields = ", ".join(table) or "none"
            raise DataFileError(path, f"{where} has the fields {fields}; it must have {', '.join(columns)}")
        for column, kind_of_value in {**columns, **optional}.items():
            if column not in table:
                continue
            if not isinstance(table[column], kind_of_value) or not table[column]:
                allowed = "a text" if kind_of_value is str else "a list"
                raise DataFileError(path, f"{where}: {column} must be {allowed} that is not empty")
        if table["id"] in seen:
            raise DataFileError(path, f"{where} appears twice")
        seen.add(table["id"])
        yield where, table


def check_placeholders(path: Path, where: str, text: str, required: set[str], allowed: set[str]) -> None:
    """DataFileError if a placeholder is missing or unknown."""
    placeholders = set(PLACEHOLDER.findall(text))
    for name in sorted(required - placeholders):
        raise DataFileError(path, f"{where} lacks the placeholder {{{name}}}")
    for name in sorted(placeholders - allowed):
        names = ", ".join(f"{{{x}}}" for x in sorted(allowed)) or "none"
        raise DataFileError(path, f"{where} has the placeholder {{{name}}}; allowed: {names}")
