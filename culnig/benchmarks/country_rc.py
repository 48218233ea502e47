"""country-rc: short passages that name a country, with the question which country it was.

Reading is enough to answer, so a neuron with a high score responds to the country's name and not to its
culture; the selection removes such neurons. We wrote the passages (`data/country_rc.toml`) and the four
wordings (`data/prompts/country_rc.toml`). Each is asked about the 8 cultures with `specific_target`:
25 passages × 8 cultures × 4 wordings = 800 items to identify neurons, and 800 to test them.

The wrong options are 3 of BLEnD's other cultures, but never a part of the correct country (West Java, if
Indonesia is correct). SHA-256 of the item's id chooses them, so neither the order nor the number of passages
and wordings matters. A passage that mentions a second country mentions one of the three. The position of the
gold label rotates: over the 8 cultures, each label is correct twice for every passage and wording.
`country-rc-all` adds all other cultures on record, with 100 items to identify neurons and 100 to test them
for each.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from culnig import registry
from culnig.benchmarks import wordings as wordings_file
from culnig.benchmarks.base import Benchmark, licensed
from culnig.benchmarks.wordings import Wording, check_placeholders, fill, read_tables
from culnig.core.data_files import own_data
from culnig.core.items import Item
from culnig.cultures.records import Culture, builtin_cultures
from culnig.errors import DataFileError

PASSAGES_PER_HALF = 25
MENTIONING_PER_HALF = 10
N_OPTIONS = 4

_OPENS_A_SENTENCE = re.compile(r"(^|[.!?]\s+)\{")


@dataclass(frozen=True)
class Passage:
    """A text with `{country}` and possibly `{other}`, and its question."""

    id: str
    text: str
    question: str

    @property
    def mentions_another(self) -> bool:
        """Whether the text mentions a second country."""
        return "{other}" in self.text


class CountryRC(Benchmark):
    """Our passages, about the cultures with `specific_target`."""

    name = "country-rc"
    role = "exclusion"
    summary = "which country a short passage names; needs reading, no cultural knowledge"
    licence = licensed("MIT, ours")

    def read(self, data_dir: Path | None) -> Iterator[Item]:
        """All items: passage by passage, then culture by culture, then wording by wording."""
        return make_items(*_own_texts(), _blend_cultures())

    def files(self, data_dir: Path | None) -> list[Path]:
        """Passages and wordings."""
        return [own_data("country_rc.toml"), own_data("prompts/country_rc.toml")]


class CountryRCAll(CountryRC):
    """Our passages about every culture on record, including plugins'; contains the items of `country-rc`.

    Countries whose record was made from public lists are not among them.
    """

    name = "country-rc-all"
    summary = "country-rc about every culture with a record of its own; choose with --culture"

    def read(self, data_dir: Path | None) -> Iterator[Item]:
        """All items: passage by passage, then culture by culture, then wording by wording."""
        cultures = _blend_cultures()
        targets = [culture.key for culture in cultures if culture.specific_target]
        records = registry.cultures().values()
        further = [record for record in records if record.key not in targets and not record.is_fallback]
        return make_items(*_own_texts(), cultures, further)


def _blend_cultures() -> list[Culture]:
    return [culture for culture in builtin_cultures() if "blend" in culture.names]


def _own_texts() -> tuple[list[Passage], list[Wording]]:
    passages = read_passages(own_data("country_rc.toml"))
    return passages, read_wordings(own_data("prompts/country_rc.toml"))


def make_items(
    passages: Sequence[Passage],
    wordings: Sequence[Wording],
    cultures: Sequence[Culture],
    further: Sequence[Culture] = (),
) -> Iterator[Item]:
    """Each passage about the cultures with `specific_target`, then about `further`, in every wording.

    `cultures` includes those that serve only as wrong options; its order does not matter.
    """
    cultures = sorted(cultures, key=lambda culture: culture.key)
    golds = list(enumerate(culture for culture in cultures if culture.specific_target))
    golds += [(_column(c), c) for c in sorted(further, key=lambda culture: culture.key)]
    for row, passage in enumerate(passages):
        for column, gold in golds:
            for number, wording in enumerate(wordings):
                item_id = f"{passage.id}/{gold.key}/{wording.id}"
                wrong = choose_distractors(item_id, gold, cultures)
                index = (row + column + number) % N_OPTIONS
                options = _by_hash(f"{item_id}/order", wrong)
                options.insert(index, gold)
                yield Item(
                    id=item_id,
                    question_id=passage.id,
                    culture=gold.key,
                    split="identify" if row < PASSAGES_PER_HALF else "test",
                    prompt=_render(passage, wording, gold, wrong[0], options),
                    options=wording.labels,
                    answer=wording.labels[index],
                    topic="mentions another" if passage.mentions_another else "plain",
                )


def choose_distractors(item_id: str, gold: Culture, cultures: Sequence[Culture]) -> list[Culture]:
    """The three wrong options of an item; the first is the one that a passage may mention."""
    further = [
        culture
        for culture in cultures
        if culture.key != gold.key and not culture.iso.startswith(f"{gold.iso}-")
    ]
    return _by_hash(item_id, further)[: N_OPTIONS - 1]


def option_name(culture: Culture) -> str:
    """A culture's name as an option: without an article, capitalized."""
    name = culture.in_sentence.removeprefix("the ")
    return name[0].upper() + name[1:]


def read_passages(path: Path) -> list[Passage]:
    """Passages in file order; DataFileError names the passage or half that is malformed."""
    passages: list[Passage] = []
    for where, table in read_tables(path, "passages", {"id": str, "text": str, "question": str}):
        passage = Passage(**table)
        check_placeholders(path, f"{where}: text", passage.text, {"country"}, {"country", "other"})
        check_placeholders(path, f"{where}: question", passage.question, set(), set())
        if _OPENS_A_SENTENCE.search(passage.text):
            raise DataFileError(path, f"{where}: a sentence must not start with a placeholder")
        passages.append(passage)
    _check_half(path, "first half (identify)", passages[:PASSAGES_PER_HALF])
    _check_half(path, "second half (test)", passages[PASSAGES_PER_HALF:])
    return passages


def read_wordings(path: Path) -> list[Wording]:
    """Wordings in file order; DataFileError names the wording that is malformed."""
    wordings = wordings_file.read_wordings(path, {"passage", "question", "options"}, n_labels=N_OPTIONS)
    for wording in wordings:
        if len(wording.labels) != N_OPTIONS:
            raise DataFileError(
                path, f"wording {wording.id!r}: labels must be exactly {N_OPTIONS} different texts"
            )
    return wordings


def _render(
    passage: Passage, wording: Wording, gold: Culture, other: Culture, options: Sequence[Culture]
) -> str:
    text = fill(passage.text, {"country": gold.in_sentence, "other": other.in_sentence})
    lines = wording.options([option_name(culture) for culture in options])
    return fill(wording.template, {"passage": text, "question": passage.question, "options": lines})


def _column(culture: Culture) -> int:
    """Start of the label rotation for a culture; independent of the other cultures."""
    return hashlib.sha256(culture.key.encode()).digest()[0]


def _by_hash(seed: str, cultures: Sequence[Culture]) -> list[Culture]:
    """The cultures in an order that depends only on the seed and their keys."""
    return sorted(cultures, key=lambda c: hashlib.sha256(f"{seed}/{c.key}".encode()).digest())


def _check_half(path: Path, half: str, passages: Sequence[Passage]) -> None:
    mentioning = sum(passage.mentions_another for passage in passages)
    plain, allowed = len(passages) - mentioning, PASSAGES_PER_HALF - MENTIONING_PER_HALF
    if (plain, mentioning) != (allowed, MENTIONING_PER_HALF):
        problem = f"the {half} has {plain} plain passages and {mentioning} that mention {{other}}"
        raise DataFileError(path, f"{problem}; it must have {allowed} and {MENTIONING_PER_HALF}")
