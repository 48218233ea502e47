"""country-rc: short passages that name a country, and the question which country it was.

Reading is enough to answer, so a neuron that scores high here answers to the country's name, not
to its culture; selection removes such neurons. Our own passages (`data/country_rc.toml`) and four
wordings of the prompt (`data/prompts/country_rc.toml`), with the 8 cultures that have specific
neurons put in: 25 passages × 8 cultures × 4 wordings = 800 items to identify neurons and 800 to
test them.

The wrong options are 3 of the other cultures of BLEnD, never a part of the right country (West
Java where Indonesia is right). The SHA-256 of the item's id chooses them, so neither the order
nor the number of passages and wordings matters; a passage that mentions a second country takes
one of the three. The place of the gold label rotates: over the 8 cultures each label is right
twice for every passage and wording.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from culnig.cultures.records import Culture, builtin_cultures
from culnig.data_files import own_data, read_toml
from culnig.errors import DataFileError
from culnig.items import Benchmark, Item, Role

PASSAGES_PER_HALF = 25
MENTIONING_PER_HALF = 10
N_OPTIONS = 4

_PLACEHOLDER = re.compile(r"\{(\w+)\}")
_OPENS_A_SENTENCE = re.compile(r"(^|[.!?]\s+)\{")


@dataclass(frozen=True)
class Passage:
    """A text with `{country}`, perhaps also `{other}`, and its question."""

    id: str
    text: str
    question: str

    @property
    def mentions_another(self) -> bool:
        """Whether a second country appears in the text."""
        return "{other}" in self.text


@dataclass(frozen=True)
class Wording:
    """One way to lay out passage, question, options and instruction."""

    id: str
    labels: tuple[str, ...]
    option: str
    template: str


class CountryRC(Benchmark):
    """The passages that come with the program; a data folder is not needed."""

    name: ClassVar[str] = "country-rc"
    role: ClassVar[Role] = "exclusion"
    summary: ClassVar[str] = "which country a short passage names; needs reading, no cultural knowledge"

    def read(self, data_dir: Path | None) -> Iterator[Item]:
        """All items: passage by passage, then culture by culture, then wording by wording."""
        passages = read_passages(own_data("country_rc.toml"))
        wordings = read_wordings(own_data("prompts/country_rc.toml"))
        cultures = [culture for culture in builtin_cultures() if "blend" in culture.names]
        return make_items(passages, wordings, cultures)


def make_items(
    passages: Sequence[Passage], wordings: Sequence[Wording], cultures: Sequence[Culture]
) -> Iterator[Item]:
    """Every passage with every culture that has `specific_target`, in every wording.

    `cultures` also holds those that only serve as wrong options; its order does not matter.
    """
    cultures = sorted(cultures, key=lambda culture: culture.key)
    golds = [culture for culture in cultures if culture.specific_target]
    for row, passage in enumerate(passages):
        for column, gold in enumerate(golds):
            for turn, wording in enumerate(wordings):
                item_id = f"{passage.id}/{gold.key}/{wording.id}"
                wrong = choose_distractors(item_id, gold, cultures)
                place = (row + column + turn) % N_OPTIONS
                options = _by_hash(f"{item_id}/order", wrong)
                options.insert(place, gold)
                yield Item(
                    id=item_id,
                    question_id=passage.id,
                    culture=gold.key,
                    split="identify" if row < PASSAGES_PER_HALF else "test",
                    prompt=_render(passage, wording, gold, wrong[0], options),
                    options=wording.labels,
                    answer=wording.labels[place],
                    topic="mentions another" if passage.mentions_another else "plain",
                )


def choose_distractors(item_id: str, gold: Culture, cultures: Sequence[Culture]) -> list[Culture]:
    """The three wrong options of an item; the first is the one that a passage may mention."""
    others = [
        culture
        for culture in cultures
        if culture.key != gold.key and not culture.iso.startswith(f"{gold.iso}-")
    ]
    return _by_hash(item_id, others)[: N_OPTIONS - 1]


def option_name(culture: Culture) -> str:
    """How an option names a culture: without an article, the first letter large."""
    name = culture.in_sentence.removeprefix("the ")
    return name[0].upper() + name[1:]


def read_passages(path: Path) -> list[Passage]:
    """Passages in file order; DataFileError names the passage or the half that is wrong."""
    passages: list[Passage] = []
    for where, table in _tables(path, "passages", {"id": str, "text": str, "question": str}):
        passage = Passage(**table)
        _check_placeholders(path, f"{where}: text", passage.text, {"country"}, {"country", "other"})
        _check_placeholders(path, f"{where}: question", passage.question, set(), set())
        if _OPENS_A_SENTENCE.search(passage.text):
            raise DataFileError(path, f"{where}: a placeholder must not open a sentence")
        passages.append(passage)
    _check_half(path, "first half (identify)", passages[:PASSAGES_PER_HALF])
    _check_half(path, "second half (test)", passages[PASSAGES_PER_HALF:])
    return passages


def read_wordings(path: Path) -> list[Wording]:
    """Wordings in file order; DataFileError names the wording that is wrong."""
    wordings: list[Wording] = []
    columns: Mapping[str, type] = {"id": str, "labels": list, "option": str, "template": str}
    for where, table in _tables(path, "wordings", columns):
        labels = tuple(table["labels"])
        if not all(isinstance(x, str) and x for x in labels) or len(set(labels)) != N_OPTIONS:
            raise DataFileError(path, f"{where}: labels must be {N_OPTIONS} different texts")
        parts, line = {"passage", "question", "options"}, {"label", "name"}
        _check_placeholders(path, f"{where}: template", table["template"], parts, parts)
        _check_placeholders(path, f"{where}: option", table["option"], line, line)
        if "answer_choice" not in table["template"]:
            raise DataFileError(path, f"{where}: template must ask for JSON with answer_choice")
        wordings.append(Wording(table["id"], labels, table["option"], table["template"].strip()))
    return wordings


def _render(
    passage: Passage, wording: Wording, gold: Culture, other: Culture, options: Sequence[Culture]
) -> str:
    lines = [
        _fill(wording.option, {"label": label, "name": option_name(culture)})
        for label, culture in zip(wording.labels, options, strict=True)
    ]
    text = _fill(passage.text, {"country": gold.in_sentence, "other": other.in_sentence})
    parts = {"passage": text, "question": passage.question, "options": "\n".join(lines)}
    return _fill(wording.template, parts)


def _fill(template: str, values: Mapping[str, str]) -> str:
    """Replace the placeholders in one pass; `str.format` would stumble over the braces of JSON."""
    return _PLACEHOLDER.sub(lambda match: values[match[1]], template)


def _by_hash(seed: str, cultures: Sequence[Culture]) -> list[Culture]:
    """The cultures in an order that only the seed and their keys decide."""
    return sorted(cultures, key=lambda c: hashlib.sha256(f"{seed}/{c.key}".encode()).digest())


def _tables(path: Path, name: str, columns: Mapping[str, type]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each table of an array with exactly these columns, and how an error names it."""
    tables = read_toml(path).get(name)
    if not tables or not isinstance(tables, list) or not all(isinstance(t, dict) for t in tables):
        raise DataFileError(path, f"must hold an array of tables [[{name}]]")
    kind, seen = name.removesuffix("s"), set()
    for position, table in enumerate(tables, start=1):
        where = f"{kind} {table['id']!r}" if "id" in table else f"{kind} number {position}"
        if set(table) != set(columns):
            found = f"has the fields {', '.join(table) or 'none'}"
            raise DataFileError(path, f"{where} {found}; it must have {', '.join(columns)}")
        for column, kind_of_value in columns.items():
            if not isinstance(table[column], kind_of_value) or not table[column]:
                wanted = "a text" if kind_of_value is str else "a list"
                raise DataFileError(path, f"{where}: {column} must be {wanted} that is not empty")
        if table["id"] in seen:
            raise DataFileError(path, f"{where} appears twice")
        seen.add(table["id"])
        yield where, table


def _check_half(path: Path, half: str, passages: Sequence[Passage]) -> None:
    mentioning = sum(passage.mentions_another for passage in passages)
    plain, plain_wanted = len(passages) - mentioning, PASSAGES_PER_HALF - MENTIONING_PER_HALF
    if (plain, mentioning) != (plain_wanted, MENTIONING_PER_HALF):
        found = f"the {half} has {plain} plain passages and {mentioning} that mention {{other}}"
        wanted = f"it must have {plain_wanted} and {MENTIONING_PER_HALF}"
        raise DataFileError(path, f"{found}; {wanted}")


def _check_placeholders(path: Path, where: str, text: str, required: set[str], allowed: set[str]) -> None:
    found = set(_PLACEHOLDER.findall(text))
    for name in sorted(required - found):
        raise DataFileError(path, f"{where} lacks the placeholder {{{name}}}")
    for name in sorted(found - allowed):
        names = ", ".join(f"{{{x}}}" for x in sorted(allowed)) or "none"
        raise DataFileError(path, f"{where} has the placeholder {{{name}}}; allowed: {names}")
