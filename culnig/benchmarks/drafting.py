"""A first declaration of a data file, from its columns and first rows.

What a column is for is read from its name and its cells. What cannot be seen is asked for, never guessed: two
columns that may both be the question, answers that fit two kinds, numbers that may begin at 0 or 1.
"""

from __future__ import annotations

import itertools
import re
import string
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from culnig import registry
from culnig.benchmarks.cells import CellError, answer_index, check_options
from culnig.benchmarks.nested import entries
from culnig.benchmarks.rows import Row, file_rows
from culnig.cultures.spellings import CultureSpellings
from culnig.errors import DataFileError, InputError, did_you_mean

_ROWS_SEEN = 200
_NAMES = {
    "question": r"(prompt_?)?question|query|prompt|premise|sentence|ask(ed)?|stem",
    "answer": r"((correct|gold|right|true)_?)?(answer|label|target)(_?(key|idx|index|id))?|gold|correct",
    "culture": r"culture|country|nation|region|province|location|place",
    "id": r"id|idx|index|key|data_?idx|(question|sample|item|row)_?(id|idx|key)",
    "topic": r"topic|category|subject|domain|theme",
}
"""Names of columns, by what they usually hold."""
_OPTION = re.compile(
    r"(?:(?:prompt_?)?(?:option|choice|answer|opt|o|ending|sol(?:ution)?)[ _-]?)?([a-h]|\d)", re.IGNORECASE
)
_OPTIONS = re.compile(r"(answer_?|candidate_?)?(options|choices|candidates|answers|endings)", re.IGNORECASE)
_INSTRUCTION = 'Choose {labels}. Answer in JSON format: {"answer_choice":""}'
_TEMPLATE = f"{{question}} {_INSTRUCTION}\n\n{{options}}\n\nAnswer:"


@dataclass
class Draft:
    """What is known of a declaration, and what must be asked for."""

    columns: list[str]
    """Columns of the file."""
    document: dict[str, Any]
    """The declaration so far."""
    unknown: dict[str, str] = field(default_factory=dict)
    """What cannot be seen, with the reason, by the keyword argument of `benchmarks_new` that says it."""

    def text(self) -> str:
        """The declaration as YAML."""
        text: str = yaml.safe_dump(self.document, sort_keys=False, allow_unicode=True, width=110)
        return text


def draft(path: Path, known: Mapping[str, Any] | None = None) -> Draft:
    """Draft the declaration of a data file; `known` is what a user has said.

    Its keys are `name`, `question`, `options` (columns), `answer`, `answer_is`, `answer_starts_at` and
    `culture` (a column, or the culture of all rows). DataFileError for a file without rows, InputError for a
    column that is not there.
    """
    known = {key: value for key, value in (known or {}).items() if value not in (None, ())}
    rows = list(itertools.islice(file_rows(path, []), _ROWS_SEEN))
    if not rows:
        raise DataFileError(path, "no rows; a declaration cannot be drafted from it")
    columns = list(rows[0].values)
    for key in ("question", "answer", "options"):
        asked = known.get(key, ())
        for column in [asked] if isinstance(asked, str) else asked:
            if column not in columns:
                near = did_you_mean(column, columns)
                raise InputError(
                    f"{key}: {path.name} has no column {column!r}{near}; columns: {', '.join(columns)}"
                )
    made = Draft(columns, {"name": known.get("name") or _name(path), "data": path.name})
    chosen = _columns(made, rows, known)
    made.document["columns"] = chosen
    if "question" in chosen and "options" in chosen and "answer" in chosen:
        _answers(made, rows, chosen, known)
    culture = known.get("culture")
    if culture is not None and culture not in columns:
        made.document["culture"] = CultureSpellings(registry.cultures().values()).find(culture).key
        chosen.pop("culture", None)
    wording = {"id": "w1", "labels": "letters", "option": "{label}. {name}", "template": _TEMPLATE}
    made.document |= {"split": "test", "control": True, "wordings": [wording]}
    return made


def _name(path: Path) -> str:
    name = re.sub(r"[^a-z0-9]+", "-", path.stem.lower()).strip("-")
    return name or "benchmark"


def _columns(made: Draft, rows: Sequence[Row], known: Mapping[str, Any]) -> dict[str, Any]:
    """The columns by content, as far as they can be seen."""
    chosen: dict[str, Any] = {}
    options = list(known.get("options", ())) or _option_columns(made.columns, rows)
    for content in ("question", "answer", "culture", "id", "topic"):
        named = [
            c for c in made.columns if re.fullmatch(_NAMES[content], c, re.IGNORECASE) and c not in options
        ]
        if content == "id":
            named = [column for column in named if _differ(rows, column)]
        if content == "culture":
            named = [column for column in named if _are_cultures(rows, column)]
        said = known.get(content)
        if said in made.columns:
            chosen[content] = said
        elif len(named) == 1 and named[0] not in chosen.values():
            chosen[content] = named[0]
        elif content in ("question", "answer"):
            made.unknown[content] = f"may be {' or '.join(named)}" if named else "no column has such a name"
    if options:
        chosen["options"] = options[0] if len(options) == 1 else options
    else:
        made.unknown["options"] = "no column has lists, and no columns are named like options"
    order = ("question", "options", "answer", "culture", "id", "topic")
    return {content: chosen[content] for content in order if content in chosen}


def _option_columns(columns: Sequence[str], rows: Sequence[Row]) -> list[str]:
    """The column with lists, or the columns that are named one after the other; empty if neither is clear."""
    lists = [column for column in columns if all(_listed(row.values.get(column)) for row in rows)]
    named = [column for column in lists if _OPTIONS.fullmatch(column)] or lists
    if len(named) == 1:
        return named
    ends: dict[str, list[tuple[str, str]]] = {}
    for column in columns:
        if match := _OPTION.fullmatch(column):
            ends.setdefault(column[: match.start(1)].casefold(), []).append((match[1].casefold(), column))
    for own in ends.values():
        labels = [label for label, _ in own]
        for expected in (string.ascii_lowercase, "0123456789", "123456789"):
            if len(own) >= 2 and labels == list(expected[: len(own)]):
                return [column for _, column in own]
    return []


def _listed(value: Any) -> bool:
    try:
        return len(entries(value) or ()) >= 2
    except CellError:
        return False


def _differ(rows: Sequence[Row], column: str) -> bool:
    values = [str(row.values.get(column)) for row in rows]
    return len(set(values)) == len(values)


def _are_cultures(rows: Iterable[Row], column: str) -> bool:
    """Whether most of a column's values are known cultures; the others are listed when the file is read."""
    spellings = CultureSpellings(registry.cultures().values())
    values = {str(row.values.get(column)) for row in rows}
    known = 0
    for value in values:
        try:
            spellings.find(value)
        except InputError:
            continue
        known += 1
    return 2 * known > len(values)


def _answers(made: Draft, rows: Sequence[Row], chosen: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    """What the answer column holds."""
    kinds = [kind for kind in _kinds(rows, chosen) if known.get("answer_is") in (None, kind[0])]
    names = sorted({name for name, _ in kinds})
    if len(names) != 1:
        fitting = " or ".join(names) or "none of letter, number and text"
        made.unknown["answer_is"] = f"the first rows fit {fitting}"
        return
    made.document["answer_is"] = names[0]
    if names[0] != "number":
        return
    starts = [start for _, start in kinds if known.get("answer_starts_at") in (None, start)]
    if len(starts) == 1:
        made.document["answer_starts_at"] = starts[0]
    else:
        made.unknown["answer_starts_at"] = f"the first rows fit {' and '.join(map(str, starts)) or 'neither'}"


def _kinds(rows: Sequence[Row], chosen: Mapping[str, Any]) -> Collection[tuple[str, int | None]]:
    """Kinds of answers that fit all rows, numbers with that of the first option."""
    kinds: dict[tuple[str, int | None], None] = dict.fromkeys(
        [("letter", None), ("text", None), ("number", 0), ("number", 1)]
    )
    for row in rows:
        options = chosen["options"]
        texts = row.texts(options) if isinstance(options, str) else [row.text(name) for name in options]
        try:
            check_options(texts)
        except CellError as error:
            raise row.error(str(error)) from None
        answer = row.text(chosen["answer"])
        for kind in list(kinds):
            name, start = kind
            try:
                answer_index(answer, texts, name, starts_at=start or 0)  # type: ignore[arg-type]
            except CellError:
                del kinds[kind]
    return list(kinds)
