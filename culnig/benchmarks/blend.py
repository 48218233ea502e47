"""BLEnD multiple-choice questions on everyday knowledge, and their control without the question.

Paper: Myung et al., "BLEnD: A Benchmark for LLMs on Everyday Knowledge in Diverse Cultures and Languages",
NeurIPS 2024 Datasets and Benchmarks. Data: `nayeon212/BLEnD` on the hub (CC BY-SA 4.0).

Read from `<data-dir>/BLEnD/mc_questions*.csv` (columns MCQID, ID, country, prompt, choices, answer_idx) and
`US_questions.csv` (columns ID, Topic); without a data folder, from the hub through `datasets`. Of each
(country, question id) the first five rows in file order are kept. Topics Food, Work life and Sport identify
neurons, the others test them (METHOD §2). The prompts carry their own instruction and are used as they are.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from culnig.cultures.records import builtin_cultures, culture_by_name
from culnig.errors import DataFileError, EnvironmentProblem, UnknownNameError
from culnig.items import Benchmark, Item, Split

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
"""How the instruction of a published prompt begins; what stands before it is the question."""

HUB_NAME = "nayeon212/BLEnD"
_COLUMNS = ("MCQID", "ID", "country", "prompt", "choices", "answer_idx")

Row = tuple[int, dict[str, str]]
"""Line number in its file, and the row by column."""


class Blend(Benchmark):
    """The questions, role target."""

    name = "blend"
    role = "target"
    summary = "BLEnD multiple choice, 16 cultures; first 5 per (culture, question)"
    needs_data_dir = True
    control = "blend-control"

    def read(self, data_dir: Path | None) -> Iterator[Item]:
        """Items in file order."""
        return _read(data_dir)


class BlendControl(Benchmark):
    """The same items with the question deleted, role control."""

    name = "blend-control"
    role = "control"
    summary = "BLEnD items without their question: instruction, options and gold label kept"
    needs_data_dir = True

    def read(self, data_dir: Path | None) -> Iterator[Item]:
        """Items in file order."""
        for item in _read(data_dir):
            yield replace(item, prompt=item.prompt[item.prompt.index(INSTRUCTION) :])


def _read(data_dir: Path | None) -> Iterator[Item]:
    if data_dir is None:
        return _items(HUB_NAME, _hub_rows("multiple-choice-questions"), _hub_topics())
    path = _questions_file(data_dir / "BLEnD")
    return _items(str(path), _csv_rows(path, _COLUMNS), _topics(data_dir / "BLEnD" / "US_questions.csv"))


def _items(source: str, rows: Iterator[Row], topics: dict[str, str]) -> Iterator[Item]:
    cultures = builtin_cultures()
    taken: Counter[tuple[str, str]] = Counter()
    for line, row in rows:
        question, country = row["ID"], row["country"]
        if taken[country, question] >= ROWS_PER_QUESTION:
            continue
        taken[country, question] += 1
        try:
            culture = culture_by_name(cultures, "blend", country).key
        except UnknownNameError as error:
            raise DataFileError(source, str(error), line=line, column="country") from None
        if question not in topics:
            raise DataFileError(
                source,
                f"question {question!r} has no topic in US_questions.csv",
                line=line,
                column="ID",
            )
        options = _options(source, line, row["choices"])
        if row["answer_idx"] not in options:
            problem = f"answer {row['answer_idx']!r} is not among the choices {', '.join(options)}"
            raise DataFileError(source, problem, line=line, column="answer_idx")
        if INSTRUCTION not in row["prompt"]:
            problem = f"the instruction ({INSTRUCTION!r} …) that ends the question is missing"
            raise DataFileError(source, problem, line=line, column="prompt")
        topic = topics[question]
        yield Item(
            id=row["MCQID"],
            question_id=question,
            culture=culture,
            split=SPLIT_OF_TOPIC[topic],
            prompt=row["prompt"],
            options=options,
            answer=row["answer_idx"],
            topic=topic,
        )


def _options(source: str, line: int, choices: str) -> tuple[str, ...]:
    try:
        parsed = json.loads(choices)
    except json.JSONDecodeError as error:
        raise DataFileError(source, f"not JSON: {error}", line=line, column="choices") from None
    if not isinstance(parsed, dict) or len(parsed) < 2:
        raise DataFileError(
            source,
            "expected an object of at least two labelled choices",
            line=line,
            column="choices",
        )
    return tuple(parsed)


def _questions_file(folder: Path) -> Path:
    """The published file where it is there, else a rebuilt one."""
    found = sorted(
        folder.glob("mc_questions*.csv"),
        key=lambda path: (path.name != "mc_questions_file.csv", path),
    )
    if not found:
        raise DataFileError(
            folder / "mc_questions_file.csv",
            "no such file; put BLEnD's multiple-choice CSV there, or name the folder above BLEnD/ with "
            "--data-dir or CULNIG_DATA",
        )
    return found[0]


def _topics(path: Path) -> dict[str, str]:
    topics: dict[str, str] = {}
    for line, row in _csv_rows(path, ("ID", "Topic")):
        if row["Topic"] not in SPLIT_OF_TOPIC:
            problem = f"unknown topic {row['Topic']!r}; topics are {', '.join(SPLIT_OF_TOPIC)}"
            raise DataFileError(path, problem, line=line, column="Topic")
        topics[row["ID"]] = row["Topic"]
    return topics


def _csv_rows(path: Path, columns: tuple[str, ...]) -> Iterator[Row]:
    """Rows of a CSV file with the line each ends on; DataFileError where a column or value is missing."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            for column in columns:
                if column not in (reader.fieldnames or ()):
                    there = ", ".join(reader.fieldnames or ()) or "none"
                    raise DataFileError(path, f"no such column; there are {there}", line=1, column=column)
            for row in reader:
                for column in columns:
                    if not row[column]:
                        raise DataFileError(path, "no value", line=reader.line_num, column=column)
                yield reader.line_num, row
    except FileNotFoundError:
        raise DataFileError(path, "no such file") from None
    except UnicodeDecodeError as error:
        raise DataFileError(path, f"not UTF-8: {error}") from None
    except csv.Error as error:
        raise DataFileError(path, f"not CSV: {error}", line=reader.line_num) from None


def _hub_rows(config: str, split: str = "test") -> Iterator[Row]:
    for number, row in enumerate(_hub(config, split)):
        yield number + 1, {column: str(value) for column, value in row.items()}


def _hub_topics() -> dict[str, str]:
    return {row["ID"]: row["Topic"] for _, row in _hub_rows("short-answer-questions", "US")}


def _hub(config: str, split: str) -> Any:
    how = "give a folder with the data instead: --data-dir or CULNIG_DATA (see README, Data)"
    try:
        import datasets
    except ModuleNotFoundError:
        raise EnvironmentProblem(
            f"reading {HUB_NAME} needs the package datasets (`pip install culnig-engine[hub]`); or {how}"
        ) from None
    try:
        return datasets.load_dataset(HUB_NAME, config, split=split)
    except Exception as error:  # the hub client raises whatever its transport raises
        raise EnvironmentProblem(f"cannot read {HUB_NAME} ({config}) from the hub: {error}; {how}") from error
