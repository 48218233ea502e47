"""BLEnD multiple-choice questions on everyday knowledge, and their control without the question.

Paper: Myung et al., "BLEnD: A Benchmark for LLMs on Everyday Knowledge in Diverse Cultures and Languages",
NeurIPS 2024 Datasets and Benchmarks. Data: `nayeon212/BLEnD` on the hub (CC BY-SA 4.0).

Read from `<data-dir>/BLEnD/mc_questions*.csv` (columns MCQID, ID, country, prompt, choices, answer_idx) and
`US_questions.csv` (columns ID, Topic); without a data folder, from the hub through `datasets` (config
`multiple-choice-questions`, split `test`). Of each (country, question id) the first five rows in file order
are kept. Splits: items of the topics Food, Work life and Sport identify neurons, the others test them
(docs/method.md, Data roles). The prompts contain their own instruction and are used unchanged. Checked
against: docs/method.md; a file rebuilt from the annotations (20,825 rows: 11,349 identify, 9,476 test).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from culnig.benchmarks.base import Benchmark, licensed
from culnig.benchmarks.published import CultureNames
from culnig.benchmarks.rows import Row, csv_rows, unique
from culnig.benchmarks.source import Source, hub_rows
from culnig.core.items import Item, Role, Split

ROWS_PER_QUESTION = 5
SPLIT_OF_TOPIC: dict[str, Split] = {
    "Food": "identify",
    "Work life": "identify",
    "Sport": "identify",
    "Education": "test",
    "Family": "test",
    "Holidays/Celebration/Leisure": "test",
}
INSTRUCTION = "Without any explanation, choose only one"
"""Start of the instruction in a published prompt; the text before it is the question."""

QUESTIONS = Source(
    "BLEnD",
    ("mc_questions_file.csv", "mc_questions*.csv"),  # the published file, otherwise a rebuilt one
    ("MCQID", "ID", "country", "prompt", "choices", "answer_idx"),
    hub="nayeon212/BLEnD",
    hub_config="multiple-choice-questions",
)


class Blend(Benchmark):
    """The questions, role target."""

    name = "blend"
    role: Role = "target"
    summary = "BLEnD multiple choice, 16 cultures; first 5 per (culture, question)"
    licence = licensed("CC BY-SA 4.0")
    needs_data_dir = True
    control: str | None = "blend-control"

    def read(self, data_dir: Path | None) -> Iterator[Item]:
        """Items in file order."""
        topics, names = read_topics(data_dir, self._commits), CultureNames("blend")
        taken: Counter[tuple[str, str]] = Counter()
        for row in unique(QUESTIONS.rows(data_dir, self._commits), "MCQID"):
            key = row.text("country"), row.text("ID")
            taken[key] += 1
            if taken[key] <= ROWS_PER_QUESTION:
                yield _item(row, topics, names)

    def files(self, data_dir: Path | None) -> list[Path]:
        """Questions and topics."""
        return [] if data_dir is None else [QUESTIONS.path(data_dir), topic_file(data_dir)]


class BlendControl(Blend):
    """The same items without the question, role control."""

    name = "blend-control"
    role = "control"
    summary = "BLEnD items without their question: instruction, options and gold label kept"
    control = None

    def read(self, data_dir: Path | None) -> Iterator[Item]:
        """Items in file order."""
        for item in super().read(data_dir):
            yield replace(item, prompt=item.prompt[item.prompt.index(INSTRUCTION) :])


def topic_file(data_dir: Path) -> Path:
    """The file with the topic of every question."""
    return data_dir / "BLEnD" / "US_questions.csv"


def read_topics(data_dir: Path | None, commits: dict[str, str] | None = None) -> dict[str, str]:
    """Topic by question id; `commits` as for `hub_rows`."""
    columns = ("ID", "Topic")
    if data_dir is None:
        rows = hub_rows(QUESTIONS.hub, "short-answer-questions", "US", columns, commits=commits)
    else:
        rows = csv_rows(topic_file(data_dir), columns)
    return {row.text("ID"): row.one_of("Topic", tuple(SPLIT_OF_TOPIC), "topic") for row in rows}


def _item(row: Row, topics: dict[str, str], names: CultureNames) -> Item:
    question, prompt, options = row.text("ID"), row.text("prompt"), _options(row)
    if question not in topics:
        raise row.error(f"question {question!r} has no topic in US_questions.csv", "ID")
    if INSTRUCTION not in prompt:
        raise row.error(f"the instruction after the question ({INSTRUCTION!r} …) is missing", "prompt")
    return Item(
        id=row.text("MCQID"),
        question_id=question,
        culture=names.find(row, "country").key,
        split=SPLIT_OF_TOPIC[topics[question]],
        prompt=prompt,
        options=options,
        answer=row.one_of("answer_idx", options, "answer letter"),
        topic=topics[question],
    )


def _options(row: Row) -> tuple[str, ...]:
    try:
        parsed = json.loads(row.text("choices"))
    except json.JSONDecodeError as error:
        raise row.error(f"not JSON: {error}", "choices") from None
    texts = parsed.values() if isinstance(parsed, dict) else ()
    if len(texts) < 2 or not all(str(text).strip() for text in texts):
        raise row.error("expected an object of at least two labelled choices, none empty", "choices")
    return tuple(parsed)
