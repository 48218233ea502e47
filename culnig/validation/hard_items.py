"""The items of the hard world: letters as answers, long prompts, hints, and facts that are half known.

An item begins with LEAD words that mean nothing, so that prompts have at least 50 tokens. A question shows
four options with letters, and its letter is the answer:

    word-7 … word-2 in Mexico question-3 ? A thing-4 B thing-9 C thing-1 D thing-2 answer:

- **Hints.** Every other question ends with a word that gives its letter away (`hint-B`), with and without the
  question: the control keeps options and hint, as a benchmark's control keeps what can be guessed.
- **Levels.** A fact is taught with a probability from chance to nearly 1 (LEVELS), so items are uncertain,
  certain and unknown, as a real model's are.
- **Related cultures** (neighbours in the list: first and second, third and fourth …) have the same answer to
  half of the questions.
- A letter belongs to a question of a culture in both wordings: options are not shuffled, as in the paper's
  data.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from culnig.benchmarks.base import ChosenItems
from culnig.core.items import NO_CULTURE, Item
from culnig.validation.settings import PlantedSettings
from culnig.validation.world import (
    ANSWER_PREFIX,
    ANSWERS,
    CONTROL,
    EVERYBODY,
    FACTS,
    FILLERS,
    GENERAL_FACTS,
    MARKS,
    NAMING,
    SPLITS,
    WORDINGS,
    World,
    fillers,
    passages,
    word,
)

LETTERS = ("A", "B", "C", "D")
HINTS = tuple(f"hint-{letter}" for letter in LETTERS)
LEAD = 40
"""Meaningless words at the start of every prompt."""
LEAD_WORDS = tuple(f"note-{number}" for number in range(8))
"""What they are; words around a name are others, so that a lead of any length can be ignored alike."""
AROUND = 8
"""Words around the name in a passage."""
LEVELS = (0.25, 0.55, 0.8, 0.97)
"""Taught probabilities of the gold letter; the first is chance."""


@dataclass(frozen=True)
class HardWorld(World):
    """Facts and items of one seed."""

    words: tuple[str, ...]
    """Every word that a prompt or answer can contain."""
    general: NDArray[np.int64]
    """Index in LETTERS of each question's general answer, shape (question,)."""
    level: NDArray[np.float64]
    """Taught probability of each fact, shape (culture, question)."""

    def question_of(self, item: Item) -> int:
        """Number of the question of an item."""
        return int(item.question_id.rpartition("-")[2])

    def is_hinted(self, item: Item) -> bool:
        """Whether the prompt gives the letter away."""
        return item.prompt.rpartition(" ")[2] in HINTS

    def asked_name(self, item: Item) -> Item:
        """The same prompt, but its culture is asked for."""
        names = tuple(map(word, self.cultures))
        return replace(item, prompt=f"{item.prompt} which", options=names, answer=word(item.culture))

    @property
    def taught(self) -> frozenset[str]:
        """Ids of the facts that a model should know by itself: no hint, and more probable than not."""
        return frozenset(
            item.id
            for item in self.benchmarks[FACTS].items
            if not self.is_hinted(item)
            and self.level[self.cultures.index(item.culture), self.question_of(item)] > 0.5
        )


def make_hard_world(settings: PlantedSettings) -> HardWorld:
    """Draw facts, options and passages."""
    generator = np.random.default_rng([settings.seed, 10])
    cultures, n_questions = settings.culture_keys, settings.questions
    n_letters = len(LETTERS)
    general = generator.integers(0, n_letters, n_questions)
    own = (general + generator.integers(1, n_letters, (len(cultures), n_questions))) % n_letters
    alike = np.arange(n_questions) % 4 < 2
    for second in range(1, len(cultures), 2):
        own[second, alike] = own[second - 1, alike]
    options = [generator.choice(ANSWERS, n_letters, replace=False) for _ in range(n_questions)]
    number = np.arange(len(cultures))[:, None] + np.arange(n_questions) // 2
    writer = _Writer(generator, options)
    facts = list(writer.facts(cultures, own, hints=True))
    everybody = list(writer.facts((NO_CULTURE,), general[None], hints=False))
    naming = list(passages(generator, cultures, n_questions, AROUND, LEAD, LEAD_WORDS))
    benchmarks = {
        FACTS: ChosenItems("target", "all", facts),
        CONTROL: ChosenItems("control", "all", [_without_question(item) for item in facts]),
        NAMING: ChosenItems("exclusion", "all", naming),
        GENERAL_FACTS: ChosenItems("target", "all", everybody),
    }
    questions = tuple(f"question-{index}" for index in range(n_questions))
    words = (*MARKS, *map(word, cultures), *questions, *ANSWERS, *FILLERS, *LEAD_WORDS, *LETTERS, *HINTS)
    return HardWorld(cultures, benchmarks, words, general, np.array(LEVELS)[number % len(LEVELS)])


class _Writer:
    """Writes prompts; words without meaning come from the generator."""

    def __init__(self, generator: np.random.Generator, options: list[NDArray[np.str_]]) -> None:
        self._generator = generator
        self._options = [
            " ".join(f"{letter} {thing}" for letter, thing in zip(LETTERS, things, strict=True))
            for things in options
        ]

    def facts(self, cultures: tuple[str, ...], answers: NDArray[np.int64], *, hints: bool) -> Iterator[Item]:
        """A question of each culture in each wording."""
        for split, wording in zip(SPLITS, WORDINGS, strict=True):
            for culture, row in zip(cultures, answers, strict=True):
                name = EVERYBODY if culture == NO_CULTURE else word(culture)
                for number, answer in enumerate(row):
                    question = f"question-{number}"
                    asked = wording.format(culture=name, question=question)
                    hint = f" {HINTS[answer]}" if hints and number % 2 else ""
                    yield Item(
                        id=f"{word(culture)}-{question}-{split}",
                        question_id=question,
                        culture=culture,
                        split=split,
                        prompt=f"{self._words(LEAD)} {asked} {self._options[number]}{hint}",
                        options=LETTERS,
                        answer=LETTERS[answer],
                        answer_prefix=ANSWER_PREFIX,
                    )

    def _words(self, number: int) -> str:
        return " ".join(fillers(self._generator, number, LEAD_WORDS))


def _without_question(item: Item) -> Item:
    """The item without culture and question; options and hint stay."""
    words = item.prompt.split()
    kept = [each for each in words if each != word(item.culture) and each != item.question_id]
    return replace(item, prompt=" ".join(kept))
