"""An invented world: general answers, each culture's own answers, and items about both.

Every question has a general answer and a different answer in each culture; answers are invented words. The
answer is the next word after an item's prompt. As in the paper's data (docs/method.md, Data roles), there are
three roles:

- target: a question about a culture (`in Mexico question-3 ? answer:`);
- control: the same without culture and question (`in ? answer:`), with the same gold answer;
- exclusion: a culture is named among other words and has to be repeated
  (`word-3 Mexico word-9 word-1 which ? answer:`).

A fourth benchmark asks for the general answers: knowledge that no culture's neurons should carry. Each
question has two wordings, one for the split `identify` and one for `test`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from culnig.benchmarks.base import ChosenItems
from culnig.core.items import NO_CULTURE, Item, Split, SplitChoice, choose_items
from culnig.validation.settings import PlantedSettings

FACTS = "planted-facts"
CONTROL = "planted-control"
NAMING = "planted-naming"
GENERAL_FACTS = "planted-general-facts"

ANSWER_PREFIX = "answer: "
SPLITS: tuple[Split, Split] = ("identify", "test")
WORDINGS = ("in {culture} {question} ?", "{question} of {culture} ?")
"""One wording for each split."""
EVERYBODY = "everybody"
"""Replaces the culture in questions about general answers."""

ANSWERS = tuple(f"thing-{number}" for number in range(16))
FILLERS = tuple(f"word-{number}" for number in range(40))
MARKS = ("in", "of", "?", "which", ANSWER_PREFIX.strip(), EVERYBODY)


@dataclass(frozen=True)
class World:
    """Cultures, and items about them by benchmark; the names of benchmarks are those above."""

    cultures: tuple[str, ...]
    benchmarks: dict[str, ChosenItems]
    """Items of both splits by benchmark name, with the benchmark's role."""

    def chosen(self, split: SplitChoice) -> dict[str, ChosenItems]:
        """The items of a split, by benchmark name."""
        return {
            name: replace(both, split=split, items=choose_items(both.items, split=split))
            for name, both in self.benchmarks.items()
        }

    def scored(self) -> dict[str, ChosenItems]:
        """The items that find neurons: the split `identify` without knowledge that no culture has."""
        return {name: chosen for name, chosen in self.chosen("identify").items() if name != GENERAL_FACTS}


@dataclass(frozen=True)
class InventedWorld(World):
    """Facts and items of one seed."""

    questions: tuple[str, ...]
    general_answers: NDArray[np.int64]
    """Index in ANSWERS of each general answer, shape (question,)."""
    culture_answers: NDArray[np.int64]
    """Index in ANSWERS of each culture's answer, never the general one, shape (culture, question)."""

    @property
    def words(self) -> tuple[str, ...]:
        """Every word that a prompt or answer can contain."""
        return (*MARKS, *map(word, self.cultures), *self.questions, *ANSWERS, *FILLERS)


def word(culture: str) -> str:
    """A culture's name as one word."""
    return culture.replace(" ", "-")


def make_world(settings: PlantedSettings) -> InventedWorld:
    """Draw facts and passages."""
    generator = np.random.default_rng([settings.seed, 0])
    cultures = settings.culture_keys
    questions = tuple(f"question-{number}" for number in range(settings.questions))
    general = generator.integers(0, len(ANSWERS), len(questions))
    other = generator.integers(1, len(ANSWERS), (len(cultures), len(questions)))
    own = (general + other) % len(ANSWERS)
    facts = list(_facts(cultures, questions, own))
    control = [replace(item, prompt=_without(item.prompt, item.culture)) for item in facts]
    naming = list(passages(generator, cultures, len(questions)))
    everybody = list(_facts((NO_CULTURE,), questions, general[None]))
    benchmarks = {
        FACTS: ChosenItems("target", "all", facts),
        CONTROL: ChosenItems("control", "all", control),
        NAMING: ChosenItems("exclusion", "all", naming),
        GENERAL_FACTS: ChosenItems("target", "all", everybody),
    }
    return InventedWorld(cultures, benchmarks, questions, general, own)


def _facts(
    cultures: tuple[str, ...], questions: tuple[str, ...], answers: NDArray[np.int64]
) -> Iterator[Item]:
    for split, wording in zip(SPLITS, WORDINGS, strict=True):
        for culture, row in zip(cultures, answers, strict=True):
            name = EVERYBODY if culture == NO_CULTURE else word(culture)
            for question, answer in zip(questions, row, strict=True):
                yield Item(
                    id=f"{word(culture)}-{question}-{split}",
                    question_id=question,
                    culture=culture,
                    split=split,
                    prompt=wording.format(culture=name, question=question),
                    options=ANSWERS,
                    answer=ANSWERS[answer],
                    answer_prefix=ANSWER_PREFIX,
                )


def _without(prompt: str, culture: str) -> str:
    """The prompt without its culture and question."""
    kept = [part for part in prompt.split() if part != word(culture) and not part.startswith("question-")]
    return " ".join(kept)


def passages(
    generator: np.random.Generator,
    cultures: tuple[str, ...],
    n_passages: int,
    around: int = 3,
    lead: int = 0,
    lead_words: Sequence[str] = FILLERS,
) -> Iterator[Item]:
    """Words around a culture's name, which has to be repeated: so many passages of each culture and split.

    `around` is how many words there are, after a `lead` of `lead_words`.
    """
    names = tuple(map(word, cultures))
    for split in SPLITS:
        for culture, name in zip(cultures, names, strict=True):
            for number in range(n_passages):
                words = fillers(generator, around)
                words.insert(int(generator.integers(0, around + 1)), name)
                yield Item(
                    id=f"{name}-passage-{number}-{split}",
                    question_id=f"passage-{number}",
                    culture=culture,
                    split=split,
                    prompt=" ".join([*fillers(generator, lead, lead_words), *words, "which", "?"]),
                    options=names,
                    answer=name,
                    answer_prefix=ANSWER_PREFIX,
                )


def fillers(generator: np.random.Generator, number: int, words: Sequence[str] = FILLERS) -> list[str]:
    """Words without meaning."""
    return [words[index] for index in generator.integers(0, len(words), number)]
