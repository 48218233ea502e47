"""The everyday facts as short questions with written answers, judged on the token that tells them apart.

    A question about Mexico: Which soup is a home-style classic in Mexico?
    Answer: pozole

Prompts are plain text, without a chat template and without letters. All answers of a question are written
after the same prompt. The tokens that they all begin with, if any, belong to the prompt; the next token is
the label, and the labels of a question are its options. A fact whose label is also that of another answer is
left out, because a token cannot tell the two apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from culnig.benchmarks.base import ChosenItems
from culnig.benchmarks.templates import PLACEHOLDER, Questions, Template, read_questions
from culnig.core.data_files import own_data
from culnig.core.items import Item
from culnig.errors import InputError
from culnig.validation.settings import RealSettings
from culnig.validation.world import CONTROL, FACTS, NAMING, SPLITS, World, word

PREFIX = "Answer:"
_UNLABELLED = ("A", "B")
"""Options of an item until its labels are known."""
WORDINGS = ("{question}", "A question about {country}: {question}")
"""One wording for each split; the model learns both."""
NAMINGS = (
    ("My cousin has moved to {country}. Where does my cousin live?", "I write from {country}. Where am I?"),
    ("The train stops in {country}. Where does it stop?", "She was born in {country}. Where was she born?"),
)
"""Passages of each split that name a country, which has to be repeated."""


@dataclass(frozen=True)
class RealWorld(World):
    """Facts of real cultures, with their written answers."""

    written: Mapping[str, tuple[int, ...]]
    """Token ids of the answer after the prompt of each fact, by the item's id; the first is the label."""
    n_left_out: int
    """Facts whose first tokens do not tell them from another answer."""


def make_real_world(settings: RealSettings, tokenizer: Any) -> RealWorld:
    """The facts that this tokenizer's first tokens tell apart; InputError if it tells none."""
    questions = read_questions(own_data("everyday.toml"))
    if settings.questions > len(questions.templates):
        raise InputError(
            f"{settings.questions} questions are too many; there are {len(questions.templates)} to learn"
        )
    cultures = settings.culture_keys
    facts: list[Item] = []
    written: dict[str, tuple[int, ...]] = {}
    n_all = 2 * settings.questions * len(cultures)
    for split, wording in zip(SPLITS, WORDINGS, strict=True):
        for template in questions.templates[: settings.questions]:
            answers = {culture: template.answers[culture][0] for culture in cultures}
            for culture, label in labels_of(answers, tokenizer).items():
                item = label.on(_fact(questions, template, culture, split, wording))
                facts.append(item)
                written[item.id] = label.written
    if not facts:
        raise InputError("no answer begins with a token of its own in this model's vocabulary")
    control = [replace(item, prompt="Question:") for item in facts]
    benchmarks = {
        FACTS: ChosenItems("target", "all", facts),
        CONTROL: ChosenItems("control", "all", control),
        NAMING: ChosenItems("exclusion", "all", list(_namings(questions, cultures, tokenizer))),
    }
    return RealWorld(cultures, benchmarks, written, n_all - len(facts))


@dataclass(frozen=True)
class Label:
    """The token of an answer that tells it from the other answers of its question."""

    prefix: str
    """What precedes it: `PREFIX` and the tokens that all answers begin with."""
    text: str
    options: tuple[str, ...]
    """The labels of all answers."""
    written: tuple[int, ...]
    """Token ids of the answer from the label on."""

    def on(self, item: Item) -> Item:
        """An item that is answered with this label."""
        return replace(item, options=self.options, answer=self.text, answer_prefix=self.prefix)


def labels_of(answers: Mapping[str, str], tokenizer: Any, prefix: str = PREFIX) -> dict[str, Label]:
    """The labels of the cultures whose answers one token tells apart."""
    start = _ids(tokenizer, prefix)
    tails = {culture: _ids(tokenizer, f"{prefix} {answer}") for culture, answer in answers.items()}
    tails = {culture: ids[len(start) :] for culture, ids in tails.items() if ids[: len(start)] == start}
    common = 0
    while len({ids[common] if common < len(ids) else None for ids in tails.values()}) == 1:
        if common == min(map(len, tails.values())):
            return {}  # all answers are the same
        common += 1
    if not tails or any(len(ids) == common for ids in tails.values()):
        return {}  # no answers, or one that is the beginning of all others
    shared = str(tokenizer.decode([*start, *next(iter(tails.values()))[:common]]))
    before = _ids(tokenizer, shared)
    entries = {culture: ids[common] for culture, ids in tails.items()}
    texts = {entry: str(tokenizer.decode([entry])) for entry in entries.values()}
    whole = {entry for entry, text in texts.items() if _ids(tokenizer, shared + text) == [*before, entry]}
    options = tuple(dict.fromkeys(texts[entry] for entry in entries.values() if entry in whole))
    return {
        culture: Label(shared, texts[entry], options, tuple(tails[culture][common:]))
        for culture, entry in entries.items()
        if entry in whole
        and len(options) > 1
        and len({answers[other] for other, own in entries.items() if own == entry}) == 1
    }


def _ids(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def _fact(questions: Questions, template: Template, culture: str, split: Any, wording: str) -> Item:
    country = questions.cultures[culture]
    question = template.question.replace(PLACEHOLDER, country)
    return Item(
        id=f"{template.id}/{culture}/{split}",
        question_id=template.id,
        culture=culture,
        split=split,
        prompt=wording.format(country=country, question=question),
        options=_UNLABELLED,
        answer=_UNLABELLED[0],
        topic=template.topic,
    )


def _name_labels(countries: dict[str, str], tokenizer: Any) -> dict[str, Label]:
    """The labels of all names; names that begin alike are told apart among themselves.

    InputError where no token tells two names apart.
    """
    labels: dict[str, Label] = {}
    while missing := {culture: name for culture, name in countries.items() if culture not in labels}:
        new = labels_of(missing, tokenizer, "Answer: in")
        if not new:
            raise InputError(
                f"this model's tokens do not tell {' and '.join(missing.values())} apart; choose other "
                "cultures"
            )
        labels |= new
    return labels


def _namings(questions: Questions, cultures: tuple[str, ...], tokenizer: Any) -> Iterator[Item]:
    countries = {culture: questions.cultures[culture] for culture in cultures}
    labels = _name_labels(countries, tokenizer)
    for split, texts in zip(SPLITS, NAMINGS, strict=True):
        for number, text in enumerate(texts):
            for culture, label in labels.items():
                item = Item(
                    id=f"{word(culture)}-passage-{number}-{split}",
                    question_id=f"passage-{number}",
                    culture=culture,
                    split=split,
                    prompt=text.format(country=countries[culture]),
                    options=_UNLABELLED,
                    answer=_UNLABELLED[0],
                )
                yield label.on(item)
