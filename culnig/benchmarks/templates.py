"""Questions that are asked about every culture, with their usual answers (`data/everyday.toml`)."""

from __future__ import annotations

import functools
import hashlib
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from culnig.core.data_files import read_toml
from culnig.core.items import Split
from culnig.errors import DataFileError

TOPICS: dict[str, Split] = {
    "Food": "identify",
    "Work life": "identify",
    "Sport": "identify",
    "Education": "test",
    "Family": "test",
    "Holidays/Celebration/Leisure": "test",
}
PLACEHOLDER = "{country}"
LEAST_WRONG = 3
"""Wrong options that an item needs."""


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
        return [wrong[key] for key in by_hash(wrong, f"{self.id}/{culture}")]


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
        if (left := len(template.wrong_answers(culture))) < LEAST_WRONG:
            problem = f"only {left} wrong options are left for the culture {culture!r}"
            raise DataFileError(path, f"{where}: {problem}; at least {LEAST_WRONG} are needed")
    return template


def _is_text(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and bool(normalise(value))


def by_hash(keys: Iterable[str], seed: str) -> list[str]:
    """The keys in an order that depends on them and the seed alone."""
    return sorted(keys, key=lambda key: hashlib.sha256(f"{seed}\n{key}".encode()).digest())
