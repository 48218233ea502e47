"""BLEnD short answers: everyday questions in the language of each culture, answered freely.

Paper and licence: see blend.py. Read from `<data-dir>/BLEnD/`: `annotations/<Culture>_data.json` (questions
and the annotators' answers), `prompts/<Culture>_prompts.csv` (columns id, Translation) and `US_questions.csv`
(topics). The hub lacks the prompts, so this benchmark needs the files of BLEnD's repository. Splits: by topic
as in blend. SHA-256 of an item's id chooses one of the culture's own prompts (4 to 12, in its language).
Every answer that at least one annotator gave in the local language is accepted; questions without such an
answer, and one without a text, are left out. An answer is correct if its lemmas contain those of an accepted
answer (evaluation/short_answers.py). Checked against: the published files (16 cultures × 500 questions);
docs/method.md, Masking and evaluation.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from culnig import registry
from culnig.benchmarks.base import Benchmark, licensed
from culnig.benchmarks.blend import SPLIT_OF_TOPIC, read_topics, topic_file
from culnig.benchmarks.rows import csv_rows, read_json
from culnig.benchmarks.wordings import shuffled
from culnig.core.items import Item
from culnig.core.text import file_name
from culnig.cultures.records import Culture
from culnig.errors import DataFileError, argument

QUESTION = "{q}"
"""Placeholder of the question; the few published prompts without it are not used."""


class BlendShort(Benchmark):
    """One item per culture and question."""

    name = "blend-short"
    role = "target"
    summary = "BLEnD short answers, written in 13 languages, matched by lemma; 16 cultures (evaluate only)"
    licence = licensed("CC BY-SA 4.0")
    needs_data_dir = True

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        """Affects only which prompt an item has."""

    def read(self, data_dir: Path | None) -> Iterator[Item]:
        """Items culture by culture, in the order of the annotations."""
        folder = _folder(data_dir)
        topics = read_topics(folder.parent)
        for culture in _cultures():
            prompts = read_prompts(_prompts(folder, culture))
            yield from self._items(_annotations(folder, culture), culture, prompts, topics)

    def files(self, data_dir: Path | None) -> list[Path]:
        """Topics, annotations and prompts."""
        folder = _folder(data_dir)
        pairs = ((_annotations(folder, culture), _prompts(folder, culture)) for culture in _cultures())
        return [topic_file(folder.parent), *(path for pair in pairs for path in pair)]

    def _items(
        self, path: Path, culture: Culture, prompts: list[str], topics: dict[str, str]
    ) -> Iterator[Item]:
        for question_id, entry in read_json(path).items():
            where = f"question {question_id!r}"
            if not isinstance(entry, dict) or "question" not in entry:
                raise DataFileError(path, f"{where}: expected an object with a question")
            question = entry["question"]
            if not isinstance(question, str) or not question.strip():
                continue  # one published question is blank
            if question_id not in topics:
                raise DataFileError(path, f"{where} has no topic in US_questions.csv")
            accepted = _accepted(path, where, entry)
            if not accepted:
                continue
            item_id = f"{question_id}/{culture.key}"
            topic = topics[question_id]
            yield Item(
                id=item_id,
                question_id=question_id,
                culture=culture.key,
                split=SPLIT_OF_TOPIC[topic],
                prompt=shuffled(prompts, f"{self.seed}\n{item_id}")[0].replace(QUESTION, question),
                options=(),
                answer=accepted[0],
                topic=topic,
                answer_prefix="",
                accepted=accepted,
                language=culture.languages[0],
            )


def read_prompts(path: Path) -> list[str]:
    """The prompts of a culture in its language; DataFileError if none has the placeholder."""
    rows = csv_rows(path, ("id", "Translation"))
    prompts = [text for row in rows if QUESTION in (text := row.text("Translation"))]
    if not prompts:
        raise DataFileError(path, f"no prompt contains {QUESTION}", column="Translation")
    return prompts


def _accepted(path: Path, where: str, entry: dict[str, Any]) -> tuple[str, ...]:
    """Answers of at least one annotator, the most common first."""
    groups = entry.get("annotations")
    if not isinstance(groups, list) or not all(
        isinstance(group, dict) and isinstance(group.get("answers"), list) and "count" in group
        for group in groups
    ):
        raise DataFileError(path, f"{where}: expected a list of objects with answers and count")
    given = sorted((group for group in groups if group["count"] > 0), key=lambda group: -group["count"])
    answers = (str(answer).strip() for group in given for answer in group["answers"])
    return tuple(dict.fromkeys(answer for answer in answers if answer))


def _cultures() -> list[Culture]:
    return [record for _, record in sorted(registry.cultures().items()) if "blend" in record.names]


def _folder(data_dir: Path | None) -> Path:
    if data_dir is None:
        raise DataFileError(
            "BLEnD",
            "the hub has no prompts for short answers; name the parent of a folder BLEnD/ with annotations, "
            f"prompts and US_questions.csv of its repository with {argument('data_dir')} or CULNIG_DATA",
        )
    return data_dir / "BLEnD"


def _annotations(folder: Path, culture: Culture) -> Path:
    return folder / "annotations" / f"{file_name(culture.names['blend'])}_data.json"


def _prompts(folder: Path, culture: Culture) -> Path:
    return folder / "prompts" / f"{file_name(culture.names['blend'])}_prompts.csv"
