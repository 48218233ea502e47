"""Benchmarks without Python: a YAML or TOML file declares how the columns of a data file become items.

Pydantic checks the file against `Declaration`; errors in YAML name their line. Options, shuffles and labels
work as in the built-in benchmarks. docs/benchmarks.md explains every field with an example.
"""

from __future__ import annotations

import os
import string
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from culnig import registry
from culnig.benchmarks.base import Benchmark
from culnig.benchmarks.cells import CellError, answer_index, check_options, position
from culnig.benchmarks.declaration import COUNTRY, Declaration, DeclaredWording
from culnig.benchmarks.rows import Row, file_rows, unique
from culnig.benchmarks.wordings import Wording, label_items
from culnig.core.data_files import check_yaml, data_path, read_small_text, read_toml
from culnig.core.folding import folded
from culnig.core.items import NO_CULTURE, Item, Split
from culnig.cultures.records import Culture
from culnig.cultures.spellings import CultureSpellings
from culnig.errors import DataFileError, InputError

_SPLITS: tuple[Split, ...] = ("identify", "test")
_TYPED = (".jsonl", ".parquet")
"""Files that tell a missing value from the text "nan", which is also a bread."""
_TOPICS_SHOWN = 20
"""Topics of the data that an error lists."""


class DeclaredBenchmark(Benchmark):
    """The benchmark of a declaration, or its control."""

    def __init__(self, declaration: Declaration, path: Path, *, control: bool = False) -> None:
        self.declaration = declaration
        self.path = path
        self.is_control = control
        self.name = f"{declaration.name}-control" if control else declaration.name
        self.role = "control" if control else declaration.role
        self.summary = f"{declaration.summary}, without the question" if control else declaration.summary
        self.control = f"{declaration.name}-control" if declaration.control and not control else None
        self._missing = frozenset(declaration.missing)
        typed = (
            Path(declaration.data).suffix.lower() in _TYPED and "missing" not in declaration.model_fields_set
        )
        self._missing_answers = frozenset() if typed else self._missing
        self._identifying = {folded(topic) for topic in declaration.identify_topics}
        self._wordings = [_wording(wording, control) for wording in declaration.wordings]

    @property
    def data_file(self) -> Path:
        """Path of the data; a backslash in the declaration also separates folders."""
        return data_path(self.path, self.declaration.data)

    def files(self, data_dir: Path | None) -> list[Path]:
        """The declaration and the data."""
        return [self.path, self.data_file]

    def read(self, data_dir: Path | None) -> Iterator[Item]:
        """All items, row by row, then wording by wording."""
        column = self.declaration.columns.id
        starts_at = self._first_number()
        for row in unique(self._rows(), column) if column else self._rows():
            yield from self._items(row, starts_at)

    def _rows(self) -> Iterator[Row]:
        columns, path = self.declaration.columns, self.data_file
        if not os.path.lexists(path):
            advice = f"correct `data: {self.declaration.data}` in {self.path}, relative to its folder"
            raise DataFileError(path, f"no such file; {advice}")
        options = [columns.options] if isinstance(columns.options, str) else columns.options
        single = (
            *(columns.question, columns.answer, columns.culture, columns.id, columns.question_id),
            *(columns.topic, columns.split),
        )
        return file_rows(path, [*(name for name in single if name), *options])

    def _text(self, row: Row, column: str) -> str:
        return row.text(column, self._missing)

    def _first_number(self) -> int:
        """Number of the first option; checks that the rows show it, and that they have `identify_topics`.

        Reads the rows until all of that is known.
        """
        declared, columns = self.declaration, self.declaration.columns
        unmatched = {folded(topic): topic for topic in declared.identify_topics}
        known = declared.answer_is != "number" or declared.answer_starts_at is not None
        topics: dict[str, None] = {}
        for row in self._rows() if unmatched or not known else ():
            if unmatched and columns.topic:
                topic = self._text(row, columns.topic)
                unmatched.pop(folded(topic), None)
                if len(topics) < _TOPICS_SHOWN:
                    topics[topic] = None
            if not known:  # an answer 0 or beyond the last number is an error here
                answer, *options = self._answers(row)
                known = self._gold(row, answer, options, starts_at=1) == len(options) - 1
            if known and not unmatched:
                break
        if unmatched:
            topic, *_ = unmatched.values()
            problem = (
                f"identify_topics: {topic!r} is the topic of no row; topics: {', '.join(topics) or 'none'}"
            )
            raise DataFileError(self.path, problem)
        if not known:
            problem = "no answer is 0 or the number of the last option, so the number of the first is unknown"
            raise DataFileError(
                self.path, f"{problem}; declare `answer_starts_at: 0` or `answer_starts_at: 1`"
            )
        return 1 if declared.answer_starts_at is None else declared.answer_starts_at

    def _items(self, row: Row, starts_at: int) -> Iterator[Item]:
        declared, columns = self.declaration, self.declaration.columns
        record, spelling = self._culture(row)
        texts = [self._text(row, columns.question), *self._answers(row)]
        names_country = any(COUNTRY in text for text in texts)
        country = ""
        if names_country or any(wording.names_country for wording in declared.wordings):
            country = self._country(row, record, spelling)
        question, answer, *names = (text.replace(COUNTRY, country) for text in texts)
        topic = self._text(row, columns.topic) if columns.topic else ""
        for item in label_items(
            self._wordings,
            {"question": "" if self.is_control else question, "country": country},
            names,
            self._gold(row, answer, names, starts_at),
            question_id=self._text(row, columns.id) if columns.id else f"line {row.last_line or row.line}",
            culture=record.key if record else NO_CULTURE,
            split=self._split(row, topic),
            topic=topic,
            shuffle=declared.shuffle and not declared.ordinal,
            seed=declared.seed,
            ordinal=declared.ordinal,
        ):
            yield replace(item, prompt=item.prompt.strip(), unit=self._unit(row))

    def _unit(self, row: Row) -> str:
        """What rows of the same question share; empty for a row that is its own question."""
        columns = self.declaration.columns
        if columns.question_id:
            return self._text(row, columns.question_id)
        question = self._text(row, columns.question)
        return question if COUNTRY in question else ""

    def _culture(self, row: Row) -> tuple[Culture | None, str]:
        """Culture of a row and its spelling."""
        column = self.declaration.columns.culture
        spelling = self._text(row, column) if column else self.declaration.culture
        if spelling is None:
            return None, ""
        try:
            return self._cultures.find(spelling), spelling
        except InputError as error:
            problem = error.args[0]
            raise row.error(problem, column) if column else DataFileError(self.path, problem) from None

    @cached_property
    def _cultures(self) -> CultureSpellings:
        return CultureSpellings(registry.cultures().values(), self.declaration.name)

    @cached_property
    def _country_names(self) -> dict[str, str]:
        """Declared names in a sentence, by key."""
        try:
            declared = self.declaration.country_names.items()
            return {self._cultures.find(spelling).key: name for spelling, name in declared}
        except InputError as error:
            raise DataFileError(self.path, f"country_names: {error.args[0]}") from None

    def _country(self, row: Row, record: Culture | None, spelling: str) -> str:
        """What {country} becomes in a row."""
        column = self.declaration.columns.culture
        if record is None:
            problem = f"{COUNTRY} needs a culture; declare culture or columns.culture"
            raise row.error(problem, self.declaration.columns.question)
        if name := self._country_names.get(record.key):
            return name
        name = self._cultures.in_sentence(record, spelling)
        if name is None:
            problem = f"{COUNTRY} of {spelling!r} would be {record.in_sentence!r}, which may mean less"
            choice = " or ".join(f"`{{{record.key}: {text}}}`" for text in (record.in_sentence, record.key))
            problem = f"{problem}; declare the name in a sentence as country_names: {choice}"
            raise row.error(problem, column) if column else DataFileError(self.path, problem)
        return name

    def _answers(self, row: Row) -> list[str]:
        """The answer and the options."""
        options, missing = self.declaration.columns.options, self._missing_answers
        answer = row.text(self.declaration.columns.answer, missing)
        if isinstance(options, str):
            return [answer, *row.texts(options, missing)]
        return [answer, *(row.text(name, missing) for name in options)]

    def _gold(self, row: Row, answer: str, options: Sequence[str], starts_at: int) -> int:
        declared, columns = self.declaration, self.declaration.columns
        column = columns.options if isinstance(columns.options, str) else None
        try:
            check_options(options)
            column = columns.answer
            return answer_index(answer, options, declared.answer_kind, starts_at=starts_at)
        except CellError as error:
            raise row.error(str(error), column) from None

    def _split(self, row: Row, topic: str) -> Split:
        if column := self.declaration.columns.split:
            split = position(self._text(row, column), _SPLITS)
            if split is None:
                problem = f"unknown split {self._text(row, column)!r}; allowed: {', '.join(_SPLITS)}"
                raise row.error(problem, column)
            return _SPLITS[split]
        if self._identifying:
            return "identify" if folded(topic) in self._identifying else "test"
        return self.declaration.split


def declared_benchmark(path: Path | str, *, control: bool = False) -> DeclaredBenchmark:
    """The benchmark that a file declares, or its control; DataFileError names the file and line of an "
    "error."""
    path = Path(path)
    declaration = read_declaration(path)
    if control and not declaration.control:
        raise DataFileError(
            path, f"{declaration.name!r} has no control; add `control: true` to the declaration"
        )
    return DeclaredBenchmark(declaration, path, control=control)


def read_declaration(path: Path) -> Declaration:
    """Read and check a declaration."""
    document, lines = (read_toml(path), {}) if path.suffix.lower() == ".toml" else _read_yaml(path)
    try:
        return Declaration.model_validate(document)
    except ValidationError as error:
        (line, first), *further = (_problem(each, lines) for each in error.errors())
        more = [f"line {number}: {text}" if number else text for number, text in further]
        raise DataFileError(path, "; ".join([first, *more]), line=line) from None


KeyPath = tuple[str | int, ...]
"""Keys and indices that lead to a value of a document."""


def _problem(error: Any, lines: dict[KeyPath, int]) -> tuple[int | None, str]:
    """Line and text of one of pydantic's errors."""
    keys: KeyPath = error["loc"]
    message = error["msg"].removeprefix("Value error, ")
    text = f"{'.'.join(map(str, keys))}: {message}" if keys else message
    while keys and keys not in lines:
        keys = keys[:-1]
    return lines.get(keys), text


def _read_yaml(path: Path) -> tuple[Any, dict[KeyPath, int]]:
    """The document and the line of each of its values."""
    text = read_small_text(path)
    try:
        check_yaml(text)
        node = yaml.compose(text, yaml.SafeLoader)
        document = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        raise DataFileError(path, f"not valid YAML: {error.problem}", line=line) from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a number of thousands of digits
        raise DataFileError(path, f"not valid YAML: {error}") from None
    lines: dict[KeyPath, int] = {}
    if node is not None:
        _note_lines(path, node, (), lines)
    return document, lines


def _note_lines(path: Path, node: yaml.Node, keys: KeyPath, lines: dict[KeyPath, int]) -> None:
    lines[keys] = node.start_mark.line + 1
    if isinstance(node, yaml.SequenceNode):
        for number, child in enumerate(node.value):
            _note_lines(path, child, (*keys, number), lines)
    elif isinstance(node, yaml.MappingNode):
        for key, child in node.value:
            inner = (*keys, str(key.value))
            if inner in lines:
                raise DataFileError(path, f"{key.value!r} appears twice", line=key.start_mark.line + 1)
            _note_lines(path, child, inner, lines)
            lines[inner] = key.start_mark.line + 1


def _wording(declared: DeclaredWording, control: bool) -> Wording:
    template = declared.control if control and declared.control else declared.template
    labels = _labels(declared.labels, len(string.ascii_uppercase))
    return Wording(declared.id, labels, declared.option, template.strip(), declared.system.strip())


def _labels(kind: str, n: int) -> tuple[str, ...]:
    return tuple(string.ascii_uppercase[:n]) if kind == "letters" else tuple(map(str, range(1, n + 1)))
