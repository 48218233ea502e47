"""Benchmarks without Python: a YAML or TOML file declares how the columns of a data file become items.

Options, shuffles and labels work as in the built-in benchmarks. docs/declared-benchmarks.md explains every
field with an example.
"""

from __future__ import annotations

import contextlib
import string
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from culnig.benchmarks.base import Benchmark
from culnig.benchmarks.cells import position
from culnig.benchmarks.declaration import Declaration
from culnig.benchmarks.declaration_file import read_declaration
from culnig.benchmarks.declared_answers import DeclaredAnswers, NoMajority
from culnig.benchmarks.declared_cultures import DeclaredCultures, UnknownCulture
from culnig.benchmarks.declared_examples import Examples
from culnig.benchmarks.declared_rows import DeclaredRows
from culnig.benchmarks.declared_wordings import COUNTRY, DeclaredWording
from culnig.benchmarks.rows import Row, unique
from culnig.benchmarks.wordings import Wording, label_items
from culnig.core.folding import folded
from culnig.core.items import NO_CULTURE, Item, Split
from culnig.cultures.records import Culture
from culnig.errors import DataFileError, InputError

_SPLITS: tuple[Split, ...] = ("identify", "test")
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
        if declaration.about is not None:
            self.licence = declaration.about.record()
            self.about = declaration.about.model_dump()
        self._missing = frozenset(declaration.missing)
        self._rows = DeclaredRows(declaration, path)
        self._cultures = DeclaredCultures(declaration, path)
        says_missing = self._rows.is_typed and "missing" not in declaration.model_fields_set
        self._answers = DeclaredAnswers(declaration, frozenset() if says_missing else self._missing)
        self._identifying = {folded(topic) for topic in declaration.identify_topics}
        self._names_country = any(wording.names_country for wording in declaration.all_wordings)
        self._wordings = {
            folded(language): [_wording(wording, control) for wording in wordings]
            for language, wordings in {"": declaration.wordings, **declaration.languages}.items()
        }
        """Wordings by language, under the empty text those of all other languages."""

    @property
    def dropped(self) -> Mapping[str, int]:
        """How many rows the last reading left out, by reason."""
        return self._rows.dropped

    def files(self, data_dir: Path | None) -> list[Path]:
        """The declaration and the data."""
        return [self.path, *self._rows.files(data_dir)]

    def commits(self) -> Mapping[str, str]:
        """The commit of the hub set that `read` has read."""
        return self._rows.commits

    def read(self, data_dir: Path | None) -> Iterator[Item]:
        """All items, row by row, then wording by wording."""
        few_shot = self.declaration.few_shot
        if few_shot is None:
            yield from (item for _, item in self._all_items(data_dir))
            return
        whole = DeclaredBenchmark(self.declaration, self.path)
        examples = Examples(few_shot, whole._all_items(data_dir))
        for language, item in self._all_items(data_dir):
            try:
                yield examples.before(item, language)
            except InputError as error:
                raise DataFileError(self.path, error.args[0]) from None

    def _all_items(self, data_dir: Path | None) -> Iterator[tuple[str, Item]]:
        """All items without examples, each with its language."""
        column = self.declaration.columns.id
        starts_at = self._first_number(data_dir)
        rows = self._rows.read(data_dir)
        for row in unique(rows, column, self._name) if column else rows:
            try:
                for item in self._items(row, starts_at):
                    yield self._language(row), item
            except UnknownCulture as unknown:
                raise self._cultures.error(unknown, row, self._rows.read(data_dir)) from None

    def _text(self, row: Row, column: str) -> str:
        return row.text(column, self._missing)

    def _first_number(self, data_dir: Path | None) -> int:
        """Number of the first option; checks that the rows show it, and that they have `identify_topics`.

        Reads the rows until all of that is known.
        """
        declared, columns = self.declaration, self.declaration.columns
        unmatched = {folded(topic): topic for topic in declared.identify_topics}
        known = declared.answer_is != "number" or declared.answer_starts_at is not None
        topics: dict[str, None] = {}
        for row in self._rows.read(data_dir) if unmatched or not known else ():
            if unmatched and columns.topic:
                topic = self._text(row, columns.topic)
                unmatched.pop(folded(topic), None)
                if len(topics) < _TOPICS_SHOWN:
                    topics[topic] = None
            if not known:  # an answer 0 or beyond the last number is an error here
                with contextlib.suppress(NoMajority):
                    answers = self._answers.read(row, starts_at=1)
                    known = len(answers.options) - 1 in answers.right
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
        record, spelling = self._cultures.find(row)
        if record is None and spelling:
            self._rows.drop(f"`cultures` leaves out {spelling}")
            return

        def fill(text: str) -> str:
            if COUNTRY not in text:
                return text
            return text.replace(COUNTRY, self._cultures.in_sentence(row, record, spelling))

        question = fill(self._text(row, columns.question))
        country = fill(COUNTRY) if self._names_country else ""
        try:
            answers = self._answers.read(row, starts_at, fill)
        except NoMajority:
            self._rows.drop("no option is the most common")
            return
        topic = self._text(row, columns.topic) if columns.topic else ""
        for item in label_items(
            self._wordings_of(row),
            {
                "question": "" if self.is_control else question,
                "country": country,
                **{name: fill(self._filling(row, column)) for name, column in declared.placeholders.items()},
            },
            [text.strip() for text in answers.options] if declared.likelihood else answers.options,
            answers.right,
            question_id=self._name(row),
            culture=record.key if record else NO_CULTURE,
            split=self._split(row, topic),
            topic=topic,
            shuffle=declared.shuffle and not declared.ordinal,
            seed=declared.seed,
            ordinal=declared.ordinal,
            distribution=answers.distribution,
            together=self._together(row, record),
            likelihood=declared.likelihood,
            delimiter=declared.delimiter,
        ):
            yield replace(item, prompt=item.prompt.strip(), unit=self._unit(row))

    def _filling(self, row: Row, column: str) -> str:
        """What fills a placeholder; a column with a question mark may be empty."""
        name = column.removesuffix("?")
        value = row.value(name) if name != column else ...
        if value is None or (isinstance(value, str) and not value.strip()):
            return ""
        return self._text(row, name)

    def _language(self, row: Row) -> str:
        """The row's language; empty without columns.language."""
        column = self.declaration.columns.language
        return folded(self._text(row, column)) if column else ""

    def _wordings_of(self, row: Row) -> list[Wording]:
        """The wordings of the row's language."""
        wordings = self._wordings.get(self._language(row), self._wordings[""])
        if not wordings:
            column = self.declaration.columns.language or ""
            known = ", ".join(self.declaration.languages)
            problem = f"no wordings for {self._text(row, column)!r}; languages: {known}"
            raise row.error(f"{problem}; declare them there, or wordings for all others", column)
        return wordings

    def _name(self, row: Row) -> str:
        """What tells a row from all others, also from others that the same row was expanded to."""
        column = self.declaration.columns.id
        name = f"{row.part}{self._text(row, column)}" if column else row.name
        return f"{name} {row.key}" if row.key else name

    def _together(self, row: Row, record: Culture | None) -> str:
        """What rows that are right or wrong together share; empty for a row that stands for itself."""
        column = self.declaration.columns.together
        return f"{self._text(row, column)} {record.key if record else ''}".strip() if column else ""

    def _unit(self, row: Row) -> str:
        """What rows of the same question share; empty for a row that is its own question."""
        columns = self.declaration.columns
        if columns.question_id:
            return self._text(row, columns.question_id)
        if columns.together:
            return self._text(row, columns.together)
        if question := self._cultures.without_mention(row):
            return question
        question = self._text(row, columns.question)
        if COUNTRY in question:
            return question
        return self._name(replace(row, key="")) if row.key else ""

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


def _wording(declared: DeclaredWording, control: bool) -> Wording:
    template = declared.control if control and declared.control else declared.template
    labels = _labels(declared.labels, len(string.ascii_uppercase))
    return Wording(declared.id, labels, declared.option, template.strip(), declared.system.strip())


def _labels(kind: str, n: int) -> tuple[str, ...]:
    return tuple(string.ascii_uppercase[:n]) if kind == "letters" else tuple(map(str, range(1, n + 1)))
