"""Benchmarks without Python: a YAML or TOML file declares how the columns of a data file become items.

Pydantic checks the file against `Declaration`; errors in YAML name their line. Options, shuffles and labels
work as in the built-in benchmarks. docs/benchmarks.md explains every field with an example.
"""

from __future__ import annotations

import string
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path, PureWindowsPath
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from culnig import registry
from culnig.benchmarks.base import Benchmark
from culnig.benchmarks.rows import Row, composed, file_rows, unique
from culnig.benchmarks.wordings import PLACEHOLDER, Wording, label_items
from culnig.core.data_files import read_toml
from culnig.core.items import NO_CULTURE, Item, Role, Split
from culnig.cultures.records import Culture
from culnig.errors import DataFileError, UnknownNameError

COUNTRY = "{country}"
"""Placeholder in questions, options and templates for the name of the row's culture in a sentence."""
_PARTS = {"question", "options", "labels", "country"}
_SPLITS = ("identify", "test")

Text = Annotated[str, Field(min_length=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Columns(_Strict):
    """The columns of the data, by content."""

    question: Text
    options: Text | list[Text]
    """One column with a list (JSONL, Parquet), or one column per option."""
    answer: Text
    culture: Text | None = None
    id: Text | None = None
    """By default, the line number is the id."""
    question_id: Text | None = None
    """Names the question that rows share, the independent unit of the statistics. By default, rows whose
    question is the same before `{country}` is filled are one question; other rows are each their own."""
    topic: Text | None = None
    split: Text | None = None


class DeclaredWording(_Strict):
    """One wording; `control` is the prompt without the question, by default the template without it."""

    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$")]
    template: Text
    labels: Literal["letters", "digits"] = "letters"
    option: Text = "{label}. {name}"
    system: str = ""
    control: Text | None = None

    @model_validator(mode="after")
    def _placeholders(self) -> DeclaredWording:
        for name, text, required in (
            ("template", self.template, {"question", "options"}),
            ("control", self.control or "{options}", {"options"}),
            ("system", self.system, set()),
        ):
            placeholders = set(PLACEHOLDER.findall(text))
            if missing := sorted(required - placeholders):
                raise ValueError(f"{name} lacks the placeholder {{{missing[0]}}}")
            if unknown := sorted(placeholders - _PARTS):
                allowed = ", ".join(f"{{{part}}}" for part in sorted(_PARTS))
                raise ValueError(f"{name} has the placeholder {{{unknown[0]}}}; allowed: {allowed}")
        if set(PLACEHOLDER.findall(self.option)) != {"label", "name"}:
            raise ValueError("option must contain {label} and {name} and no other placeholder")
        return self


class Declaration(_Strict):
    """The contents of a declaration file."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
    data: Text
    """Path of the data file, relative to the declaration."""
    columns: Columns
    wordings: Annotated[list[DeclaredWording], Field(min_length=1)]
    summary: str = "declared in a file"
    role: Role = "target"
    culture: Text | None = None
    """The culture of all rows, in place of a column; with neither, items have no culture."""
    answer_is: Literal["letter", "number", "text"] = "letter"
    """Content of the answer column: the option's letter, its number from 1, or its text."""
    split: Split = "test"
    """The split of all rows, unless a column or `identify_topics` decides it."""
    identify_topics: list[Text] = []
    """Topics that identify neurons; the others test them."""
    shuffle: bool = True
    seed: int = 0
    ordinal: bool = False
    """Whether the options are the steps of a scale, in its order; they are then not shuffled."""
    control: bool = False
    """Whether there is also a control benchmark `NAME-control`: the items without their question."""

    @model_validator(mode="after")
    def _whole(self) -> Declaration:
        ids = [wording.id for wording in self.wordings]
        if len(set(ids)) != len(ids):
            raise ValueError(f"two wordings have the same id; the ids are {', '.join(ids)}")
        if self.columns.culture and self.culture:
            raise ValueError("give either culture or columns.culture")
        if self.identify_topics and (self.columns.split or not self.columns.topic):
            raise ValueError("identify_topics needs columns.topic and no columns.split")
        if self.control and self.role != "target":
            raise ValueError("only a benchmark with the role target can have a control")
        return self


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
        self._wordings = [_wording(wording, control) for wording in declaration.wordings]

    @property
    def data_file(self) -> Path:
        """Path of the data; a backslash in the declaration also separates folders."""
        return self.path.parent.joinpath(*PureWindowsPath(self.declaration.data).parts)

    def files(self, data_dir: Path | None) -> list[Path]:
        """The declaration and the data."""
        return [self.path, self.data_file]

    def read(self, data_dir: Path | None) -> Iterator[Item]:
        """All items, row by row, then wording by wording."""
        columns = self.declaration.columns
        options = [columns.options] if isinstance(columns.options, str) else columns.options
        single = (columns.question, columns.answer, columns.culture, columns.id, columns.topic, columns.split)
        needed = [name for name in (*single, columns.question_id) if name]
        rows = file_rows(self.data_file, [*needed, *options])
        for row in unique(rows, columns.id) if columns.id else rows:
            yield from self._items(row)

    def _items(self, row: Row) -> Iterator[Item]:
        declared, columns = self.declaration, self.declaration.columns
        record = self._culture(row)
        country = record.in_sentence if record else ""
        names = tuple(name.replace(COUNTRY, country) for name in self._options(row))
        question = "" if self.is_control else row.text(columns.question).replace(COUNTRY, country)
        topic = row.text(columns.topic) if columns.topic else ""
        for item in label_items(
            self._wordings,
            {"question": question, "country": country},
            names,
            self._gold(row, names),
            question_id=row.text(columns.id) if columns.id else f"line {row.line}",
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
            return row.text(columns.question_id)
        question = row.text(columns.question)
        return question if COUNTRY in question else ""

    def _culture(self, row: Row) -> Culture | None:
        column = self.declaration.columns.culture
        spelling = composed(row.text(column).strip()) if column else self.declaration.culture
        if spelling is None:
            return None
        record = self._cultures.get(spelling)
        if record is None:
            error = UnknownNameError("culture", spelling, self._cultures, "see `culnig-engine list cultures`")
            problem = error.args[0]
            raise row.error(problem, column) if column else DataFileError(self.path, problem)
        return record

    @cached_property
    def _cultures(self) -> dict[str, Culture]:
        """Culture records by key and by their spelling for this benchmark."""
        records = registry.cultures().values()
        spelled = {r.names[self.declaration.name]: r for r in records if self.declaration.name in r.names}
        return {composed(name): r for name, r in {**{r.key: r for r in records}, **spelled}.items()}

    def _options(self, row: Row) -> Sequence[str]:
        column = self.declaration.columns.options
        if not isinstance(column, str):
            return [row.text(name) for name in column]
        values = row.values.get(column)
        if not isinstance(values, list) or len(values) < 2 or not all(_is_text(value) for value in values):
            raise row.error("expected a list of at least two texts, none empty", column)
        return [str(value) for value in values]

    def _gold(self, row: Row, names: Sequence[str]) -> int:
        kind, column = self.declaration.answer_is, self.declaration.columns.answer
        if len(names) > len(string.ascii_uppercase):
            raise row.error(f"{len(names)} options; at most {len(string.ascii_uppercase)} have a letter")
        if kind == "text":
            texts = [composed(name) for name in names]
            answer = composed(row.text(column))
            if texts.count(answer) != 1:
                raise row.error(f"{answer!r} must be exactly one of the options {', '.join(texts)}", column)
            return texts.index(answer)
        known = _labels("letters" if kind == "letter" else "digits", len(names))
        return known.index(row.one_of(column, known, f"answer {kind}"))

    def _split(self, row: Row, topic: str) -> Split:
        if column := self.declaration.columns.split:
            return "test" if row.one_of(column, _SPLITS, "split") == "test" else "identify"
        if topics := self.declaration.identify_topics:
            return "identify" if topic in topics else "test"
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
    try:
        text = path.read_text(encoding="utf-8-sig")
        node = yaml.compose(text, yaml.SafeLoader)
        document = yaml.safe_load(text)
    except FileNotFoundError:
        raise DataFileError(path, "no such file") from None
    except UnicodeDecodeError as error:
        raise DataFileError(path, f"not UTF-8 ({error.reason}); save the file as UTF-8") from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        raise DataFileError(path, f"not valid YAML: {error.problem}", line=line) from None
    except yaml.YAMLError as error:
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


def _is_text(value: object) -> bool:
    return isinstance(value, str | int | float) and not isinstance(value, bool) and bool(str(value).strip())
