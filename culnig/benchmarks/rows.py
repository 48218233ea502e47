"""Rows of CSV, TSV, JSONL and Parquet files, read one by one.

A row knows its file and line, so every error in it is reported with file, line and column. Files are UTF-8,
with or without a byte-order mark, with either kind of line end. Only the current row is held in memory.
"""

from __future__ import annotations

import csv
import json
import reprlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from culnig.benchmarks.cells import CellError, cell_text
from culnig.benchmarks.nested import entries, value_at
from culnig.core.distinct import DistinctTexts
from culnig.core.folding import composed
from culnig.errors import DataFileError, EnvironmentProblem, argument, did_you_mean


@dataclass(frozen=True)
class Row:
    """One row with its origin."""

    source: str
    """File, or name of the data set on the hub."""
    line: int
    """Line of the file where the row begins, or number of the row, from 1."""
    values: Mapping[str, Any]
    last_line: int = 0
    """Line where the row ends, if a cell spans lines."""
    part: str = ""
    """Begins the row's name where data come in several parts, each with lines of its own."""
    key: str = ""
    """Which of the rows it is that one row was expanded to."""

    @property
    def name(self) -> str:
        """What tells the row from all others, where no column does."""
        return f"{self.part}line {self.last_line or self.line}"

    def value(self, column: str) -> Any:
        """A value, inside a dictionary or list for a column with dots (`culnig.benchmarks.nested`)."""
        try:
            return value_at(self.values, column)
        except CellError as error:
            raise self.error(str(error), column) from None

    def text(self, column: str, missing: Collection[str] = ()) -> str:
        """A value as text; DataFileError if it is missing, one of the texts `missing`, or no text."""
        try:
            return cell_text(self.value(column), missing)
        except CellError as error:
            raise self.error(str(error), column) from None

    def texts(
        self, column: str, missing: Collection[str] = (), *, separator: str | None = None, least: int = 2
    ) -> list[str]:
        """A list of at least `least` values as texts; DataFileError as for `text`.

        `separator` stands between the values of a text; without it a text must hold a whole list.
        """
        value = self.value(column)
        try:
            values = entries(value, separator)
        except CellError as error:
            raise self.error(str(error), column) from None
        if values is None or len(values) < least:
            kind = "list of at least two texts" if separator is None else f"text with {separator!r} inside"
            problem = f"expected a {kind}, got {reprlib.repr(value)}"
            advice = "where options are not a list, name one column per option or declare `options_split`"
            raise self.error(f"{problem}; {advice}", column)
        texts = []
        for number, value in enumerate(values, start=1):
            try:
                texts.append(cell_text(value, missing))
            except CellError as error:
                raise self.error(f"option {number}: {error}", column) from None
        return texts

    def one_of(self, column: str, allowed: Sequence[str], kind: str) -> str:
        """A value that must be one of a list; `kind` names it in the error."""
        value = self.text(column)
        if value not in allowed:
            raise self.error(f"unknown {kind} {value!r}; allowed: {', '.join(allowed)}", column)
        return value

    def error(self, problem: str, column: str | None = None) -> DataFileError:
        """An error about this row, with file, line and column."""
        return DataFileError(self.source, problem, line=self.line, column=column)


def csv_rows(
    path: Path, columns: Sequence[str], delimiter: str = ",", *, quoted: bool = True
) -> Iterator[Row]:
    """Rows of a CSV file with a header; DataFileError if a column is missing or the file is not CSV.

    Quotation marks are part of a cell, unless it is `quoted`.
    """
    with _reading(path), path.open(encoding="utf-8-sig", newline="") as file:
        plain = csv.reader(file, strict=True, delimiter=delimiter, quoting=csv.QUOTE_NONE)
        records = _csv_records(path, csv.reader(file, strict=True, delimiter=delimiter) if quoted else plain)
        line, _, header = next(records, (1, 1, []))
        header = [composed(name) for name in header]
        check_columns(str(path), columns, header, line)
        for first, last, cells in records:
            if len(cells) != len(header):
                amount = "more" if len(cells) > len(header) else "fewer"
                problem = f"{len(cells)} values, {amount} values than the {len(header)} columns"
                advice = "put cells with a separator or quotation mark in quotation marks"
                raise DataFileError(path, f"{problem}; {advice}", line=first)
            yield Row(str(path), first, dict(zip(header, cells, strict=True)), last)


def _csv_records(path: Path, reader: Any) -> Iterator[tuple[int, int, list[str]]]:
    """First line, last line and cells of each record; empty lines are skipped."""
    while True:
        first = reader.line_num + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise DataFileError(path, f"not CSV: {error}, in the row that begins here", line=first) from None
        if cells is None:
            return
        if cells:
            yield first, reader.line_num, cells


def jsonl_rows(path: Path, columns: Sequence[str]) -> Iterator[Row]:
    """Rows of a file with one JSON object per line; empty lines are skipped."""
    with _reading(path), path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                values = json.loads(line, object_pairs_hook=_object)
            except json.JSONDecodeError as error:
                problem = f"not JSON: {error.msg} at character {error.pos + 1}"
                raise DataFileError(path, problem, line=number) from None
            except (ValueError, RecursionError) as error:
                raise DataFileError(path, f"not JSON that can be read: {error}", line=number) from None
            if not isinstance(values, dict):
                raise DataFileError(path, "expected a JSON object on the line", line=number)
            check_columns(str(path), columns, values, line=number)
            yield Row(str(path), number, values)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; ValueError if it has a key twice."""
    values = dict(pairs)
    if len(values) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice!r} appears twice in an object; remove one")
    return values


def parquet_rows(path: Path, columns: Sequence[str]) -> Iterator[Row]:
    """Rows of a Parquet file, numbered from 1; needs the package pyarrow."""
    try:
        from pyarrow import ArrowException, parquet
    except ModuleNotFoundError:
        raise EnvironmentProblem(
            f"reading {path} needs the package pyarrow (`pip install culnig-engine[parquet]`)"
        ) from None
    with _reading(path):
        try:
            with parquet.ParquetFile(path) as file:
                check_columns(str(path), columns, file.schema_arrow.names)
                number = 0
                for batch in file.iter_batches(batch_size=1024):
                    for values in batch.to_pylist():
                        number += 1
                        yield Row(str(path), number, values)
        except ArrowException as error:
            raise DataFileError(path, f"not Parquet: {error}") from None


Reader = Callable[[Path, Sequence[str]], Iterator[Row]]
READERS: dict[str, Reader] = {
    ".csv": csv_rows,
    ".tsv": lambda path, columns: csv_rows(path, columns, delimiter="\t"),
    ".jsonl": jsonl_rows,
    ".parquet": parquet_rows,
}
"""Readers by file suffix."""


def file_rows(path: Path, columns: Sequence[str], *, quoted: bool = True) -> Iterator[Row]:
    """Rows of a file, by its suffix; `quoted` says whether cells of CSV and TSV files may be in quotes."""
    suffix = path.suffix.lower()
    if not quoted and suffix in (".csv", ".tsv"):
        return csv_rows(path, columns, delimiter="," if suffix == ".csv" else "\t", quoted=False)
    reader = READERS.get(suffix)
    if reader is None:
        raise DataFileError(path, f"unknown suffix {path.suffix!r}; known: {', '.join(READERS)}")
    return reader(path, columns)


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file; DataFileError names the line of an error."""
    with _reading(path):
        text = path.read_text(encoding="utf-8-sig")
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise DataFileError(path, f"not JSON: {error.msg}", line=error.lineno) from None
    if not isinstance(document, dict):
        raise DataFileError(path, "expected a JSON object")
    return document


def unique(rows: Iterable[Row], column: str, name: Callable[[Row], str] | None = None) -> Iterator[Row]:
    """The rows unchanged; DataFileError at the first row with a repeated value in `column`.

    `name` makes what must not repeat from more than that value. Values that differ only in composition or in
    white space around them are the same.
    """
    seen = DistinctTexts()
    for row in rows:
        value = row.text(column) if name is None else name(row)
        if not seen.add(composed(value.strip())):
            raise row.error(f"{value!r} appears twice; every row needs its own", column)
        yield row


def check_columns(source: str, columns: Sequence[str], existing: Iterable[str], line: int | None = 1) -> None:
    """DataFileError for a column that is missing or there twice; `a.b` may also be inside the column `a`."""
    names = list(existing)
    for column in columns:
        name = column if column in names else column.partition(".")[0]
        if name not in names:
            near = did_you_mean(column, names)
            problem = f"no such column{near}; columns: {', '.join(names) or 'none'}"
            raise DataFileError(source, problem, line=line, column=column)
        if names.count(name) > 1:
            problem = f"{names.count(name)} columns have this name; rename or remove all but one"
            raise DataFileError(source, problem, line=line, column=column)


class _reading:  # noqa: N801
    """Turns errors of opening and decoding a file into a DataFileError."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, UnicodeDecodeError):
            line = _undecodable_line(self._path)
            advice = "save the file as UTF-8"
            raise DataFileError(self._path, f"not UTF-8 ({error.reason}); {advice}", line=line) from None
        if isinstance(error, FileNotFoundError):
            advice = f"put it there, or name another folder with {argument('data_dir')} or CULNIG_DATA"
            raise DataFileError(self._path, f"no such file; {advice}") from None
        if isinstance(error, OSError):
            raise DataFileError(self._path, f"cannot be read: {error.strerror or error}") from None


def _undecodable_line(path: Path) -> int | None:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode()
            except UnicodeDecodeError:
                return number
    return None
