"""Our own questions on everyday culture (`data/everyday.toml`), with and without the question.

Each template is asked about every culture. The gold option is the culture's usual answer. The three wrong
options are usual answers of other cultures that are wrong for this one. SHA-256 of the item's id chooses
them, so they depend neither on the order of the file nor on the selection of items.

Items come in rounds: the first template of every topic, then the second of every topic, and so on. So the
first N items of a culture (`per_culture`) cover the topics evenly.

Gold letters form Latin squares: within a topic, hashes put the cultures and the templates in order, and the
letter is the sum of the two indices, modulo 4. Every template uses every letter equally often, and so does
every culture within a topic, provided that both counts are multiples of 4.
"""

from __future__ import annotations

import functools
import hashlib
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from culnig.benchmarks.base import Benchmark
from culnig.core.data_files import own_data, read_toml
from culnig.core.items import Item, Role, Split
from culnig.errors import DataFileError

TOPICS: dict[str, Split] = {
    "Food": "identify",
    "Work life": "identify",
    "Sport": "identify",
    "Education": "test",
    "Family": "test",
    "Holidays/Celebration/Leisure": "test",
}
LABELS = ("A", "B", "C", "D")
PLACEHOLDER = "{country}"
INSTRUCTION = "Choose the letter of the best option and answer as JSON with the single key answer_choice."


@dataclass(frozen=True)
class Template:
    """One question, to be asked about every culture."""

    id: str
    """Unique within the file; the `question_id` of its items."""
    topic: str
    """A key of `TOPICS`."""
    question: str
    """The text, with `{country}` in place of the culture's name."""
    answers: dict[str, tuple[str, ...]]
    """Correct answers by culture; the first is the gold answer."""

    def wrong_answers(self, culture: str) -> list[str]:
        """Other cultures' gold answers that are wrong for this one, in the item's own order."""
        right = {normalise(answer) for answer in self.answers[culture]}
        golds = sorted(answers[0] for answers in self.answers.values())
        wrong = {normalise(gold): gold for gold in golds if normalise(gold) not in right}
        return [wrong[key] for key in _by_hash(wrong, f"{self.id}/{culture}")]


@dataclass(frozen=True)
class Questions:
    """The checked contents of the file."""

    cultures: dict[str, str]
    """Name of each culture inside a sentence, in the order of the items."""
    templates: tuple[Template, ...]


@functools.lru_cache(maxsize=10_000)  # a gold answer is compared once for every other culture
def normalise(answer: str) -> str:
    """Remove differences of case, accents, punctuation and spaces between spellings of an answer."""
    letters = unicodedata.normalize("NFKD", answer.casefold())
    return " ".join(
        "".join(c if c.isalnum() else " " for c in letters if not unicodedata.combining(c)).split()
    )


def read_questions(path: Path) -> Questions:
    """Read and check a file of templates; DataFileError names the template and the culture."""
    data = read_toml(path)
    cultures = data.get("cultures")
    if not isinstance(cultures, dict) or not all(_is_text(name) for name in cultures.values()):
        raise DataFileError(path, "needs a table [cultures] of culture = name inside a sentence")
    entries = data.get("templates")
    if not isinstance(entries, list) or not entries:
        raise DataFileError(path, "needs at least one [[templates]] block")
    templates: dict[str, Template] = {}
    for number, entry in enumerate(entries, start=1):
        template = _check_template(path, number, entry, cultures)
        if template.id in templates:
            raise DataFileError(path, f"template {template.id!r} appears twice; give one a new id")
        templates[template.id] = template
    return Questions(dict(cultures), tuple(templates.values()))


def _check_template(path: Path, number: int, entry: Any, cultures: dict[str, str]) -> Template:
    if not isinstance(entry, dict) or not _is_text(entry.get("id")):
        raise DataFileError(path, f'template number {number} has no id; add id = "…"')
    where = f"template {entry['id']!r}"
    topic, question, answers = entry.get("topic"), entry.get("question"), entry.get("answers")
    if not _is_text(topic) or topic not in TOPICS:
        raise DataFileError(path, f"{where}: unknown topic {topic!r}; known: {', '.join(TOPICS)}")
    if not _is_text(question) or PLACEHOLDER not in question:
        raise DataFileError(path, f"{where}: the question must contain {PLACEHOLDER}, got {question!r}")
    if not isinstance(answers, dict):
        raise DataFileError(path, f"{where}: needs a table [templates.answers]")
    if unknown := [culture for culture in answers if culture not in cultures]:
        raise DataFileError(path, f"{where}: {unknown[0]!r} is not a culture of the table [cultures]")
    for culture in cultures:
        given = answers.get(culture)
        if given is None:
            raise DataFileError(path, f"{where}: no answers for the culture {culture!r}")
        if not isinstance(given, list) or not given or not all(map(_is_text, given)):
            problem = f"answers for the culture {culture!r} must be a list of texts, none empty"
            raise DataFileError(path, f"{where}: {problem}; got {given!r}")
    ordered = {culture: tuple(answers[culture]) for culture in cultures}
    template = Template(entry["id"], topic, question, ordered)
    for culture in cultures:
        if (left := len(template.wrong_answers(culture))) < len(LABELS) - 1:
            problem = f"only {left} wrong options are left for the culture {culture!r}"
            raise DataFileError(path, f"{where}: {problem}; at least {len(LABELS) - 1} are needed")
    return template


def _is_text(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and bool(normalise(value))


def make_items(questions: Questions, *, with_question: bool = True) -> Iterator[Item]:
    """One item per template and culture, template by template, the topics in turn."""
    letters = _gold_letters(questions)
    for template in _in_rounds(questions.templates):
        for culture, name in questions.cultures.items():
            label = letters[template.id, culture]
            choices = template.wrong_answers(culture)[: len(LABELS) - 1]
            choices.insert(LABELS.index(label), template.answers[culture][0])
            lines = "\n".join(f"{letter}. {text}" for letter, text in zip(LABELS, choices, strict=True))
            prompt = f"{INSTRUCTION}\n\n{lines}\n\nAnswer:"
            if with_question:
                prompt = f"{template.question.replace(PLACEHOLDER, name)} {prompt}"
            yield Item(
                id=f"{template.id}/{culture}",
                question_id=template.id,
                culture=culture,
                split=TOPICS[template.topic],
                prompt=prompt,
                options=LABELS,
                answer=label,
                topic=template.topic,
            )


def _in_rounds(templates: Iterable[Template]) -> list[Template]:
    """The first template of every topic, then the second of every topic, and so on."""
    seen: Counter[str] = Counter()
    numbered: list[tuple[int, Template]] = []
    for template in templates:
        numbered.append((seen[template.topic], template))
        seen[template.topic] += 1
    return [template for _, template in sorted(numbered, key=lambda pair: pair[0])]


def _gold_letters(questions: Questions) -> dict[tuple[str, str], str]:
    letters: dict[tuple[str, str], str] = {}
    for topic in TOPICS:
        ids = _by_hash((t.id for t in questions.templates if t.topic == topic), f"templates of {topic}")
        cultures = _by_hash(questions.cultures, f"cultures of {topic}")
        for row, template in enumerate(ids):
            for column, culture in enumerate(cultures):
                letters[template, culture] = LABELS[(row + column) % len(LABELS)]
    return letters


def _by_hash(keys: Iterable[str], seed: str) -> list[str]:
    return sorted(keys, key=lambda key: hashlib.sha256(f"{seed}\n{key}".encode()).digest())


class Everyday(Benchmark):
    """The questions, as target items."""

    name = "everyday"
    role: Role = "target"
    summary = "our own everyday-culture questions, 48 on 6 topics, 16 cultures (needs no data)"
    control: str | None = "everyday-control"

    def read(self, data_dir: Path | None) -> Iterator[Item]:
        """All items, the topics in turn; `data_dir` is ignored, because the data comes with the package."""
        yield from make_items(read_questions(own_data("everyday.toml")))

    def files(self, data_dir: Path | None) -> list[Path]:
        """The questions."""
        return [own_data("everyday.toml")]


class EverydayControl(Everyday):
    """The items of `Everyday` without the question, so that only the task format remains."""

    name = "everyday-control"
    role = "control"
    summary = "the items of everyday without their question"
    control = None

    def read(self, data_dir: Path | None) -> Iterator[Item]:
        """The same ids, options and gold letters as `Everyday`, in the same order."""
        yield from make_items(read_questions(own_data("everyday.toml")), with_question=False)
