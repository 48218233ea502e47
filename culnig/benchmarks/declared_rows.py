"""The rows of a declared benchmark: where they come from, which of them count, one row for each culture.

Rows are read one by one. `dropped` counts the rows that `where` left out, by the value that they have.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from culnig.benchmarks.declaration import Declaration, Hub
from culnig.benchmarks.nested import plain
from culnig.benchmarks.rows import READERS, Row, file_rows
from culnig.benchmarks.source import hub_rows
from culnig.core.data_files import data_path
from culnig.core.folding import folded
from culnig.errors import DataFileError

KEY, VALUE, CONFIG = "key", "value", "config"
"""Columns that `expand` adds, and the one that a hub set of several configurations has."""
_TYPED = (".jsonl", ".parquet")
"""Files that tell a missing value from the text "nan", which is also a bread."""
_VALUES_SHOWN = 20
"""Values of a column that an error or a list of dropped rows shows."""


class DeclaredRows:
    """The rows of a declaration at `path`."""

    def __init__(self, declaration: Declaration, path: Path) -> None:
        self._declared = declaration
        self._path = path
        self._allowed = _asked(declaration.where)
        """The values of `where`, as they are compared, by column."""
        self._refused = _asked(declaration.where_not)
        """The values of `where_not`, likewise."""
        self.commits: dict[str, str] = {}
        """Commit of each hub set that was read."""
        self.dropped: Counter[str] = Counter()
        """How many rows of the last reading were left out, by reason."""

    @property
    def is_typed(self) -> bool:
        """Whether the source can say null, so that the text "nan" may be an option."""
        data = self._declared.data
        return data is None or Path(data).suffix.lower() in _TYPED

    @property
    def data_file(self) -> Path:
        """Path of the data; a backslash in the declaration also separates folders."""
        return data_path(self._path, self._declared.data or "")

    def files(self, data_dir: Path | None) -> list[Path]:
        """The files with the data; none if the hub is read."""
        hub = self._declared.hub
        if hub is None:
            return [self.data_file]
        return [path for _, paths in _local(hub, data_dir) or () for path in paths]

    def read(self, data_dir: Path | None) -> Iterator[Row]:
        """The rows that count; DataFileError for a value of `where` that no row has."""
        self.dropped.clear()
        seen: dict[str, set[str]] = {column: set() for column in self._declared.where}
        for row in self._source(data_dir):
            if self._counts(row, seen, made=False):
                yield from (each for each in self._expanded(row) if self._counts(each, seen, made=True))
        for column, allowed in self._allowed.items():
            if unseen := [value for value in allowed if value not in seen[column]]:
                shown = ", ".join(sorted(seen[column])[:_VALUES_SHOWN])
                problem = f"where: {unseen[0]!r} is in no row of the column {column!r}; values: {shown}"
                raise DataFileError(self._path, problem)

    def _source(self, data_dir: Path | None) -> Iterator[Row]:
        columns, hub = self._columns(), self._declared.hub
        if hub is None:
            if not os.path.lexists(self.data_file):
                advice = f"correct `data: {self._declared.data}` in {self._path}, relative to its folder"
                raise DataFileError(self.data_file, f"no such file; {advice}")
            yield from file_rows(self.data_file, columns, quoted=self._declared.quoted)
            return
        local = _local(hub, data_dir)
        if isinstance(hub.config, list) and CONFIG in columns:
            columns.remove(CONFIG)
        for number, config in enumerate(hub.configs):
            rows = (
                (
                    row
                    for path in local[number][1]
                    for row in file_rows(path, columns, quoted=self._declared.quoted)
                )
                if local
                else hub_rows(
                    *(hub.id, config, hub.split, columns), revision=hub.revision, commits=self.commits
                )
            )
            for row in rows:
                if isinstance(hub.config, list):
                    row = replace(row, values={CONFIG: config, **row.values}, part=f"{config} ")
                yield row

    def _columns(self) -> list[str]:
        """Columns that the data must have."""
        declared = self._declared
        placeholders = [column.removesuffix("?") for column in declared.placeholders.values()]
        names = [*declared.columns.names, *placeholders, *declared.where, *declared.where_not]
        if declared.expand is not None:
            names = [name for name in names if not self._is_made(name)]
            names += _expanded_columns(declared.expand)
        return list(dict.fromkeys(names))

    def _expanded(self, row: Row) -> Iterator[Row]:
        expand = self._declared.expand
        if expand is None:
            yield row
            return
        if isinstance(expand, str):
            pairs = plain(row.value(expand))
            if not isinstance(pairs, Mapping) or not pairs:
                raise row.error(f"expand needs a dictionary in every row, got {pairs!r:.80}", expand)
        elif isinstance(expand, dict):
            pairs = {
                name: {inner: row.value(column) for inner, column in own.items()}
                for name, own in expand.items()
            }
        else:
            pairs = {column: row.value(column) for column in expand}
        for key, value in pairs.items():
            yield replace(row, values={**row.values, KEY: key, VALUE: value}, key=str(key))

    def _is_made(self, column: str) -> bool:
        """Whether `expand` makes the column."""
        return self._declared.expand is not None and column.partition(".")[0] in (KEY, VALUE)

    def _counts(self, row: Row, seen: dict[str, set[str]], *, made: bool) -> bool:
        """Whether a row fits what is asked of the columns of the file, or of those that `expand` has made."""
        counts = True
        for column, allowed in self._allowed.items():
            if self._is_made(column) != made:
                continue
            value = _compared(row.value(column))
            if value in allowed or len(seen[column]) < _VALUES_SHOWN:
                seen[column].add(value)
            if counts and value not in allowed:
                counts = False
                self.drop(f"{column} is {value[:40] or 'empty'}")
        for column, refused in self._refused.items() if counts else ():
            if self._is_made(column) != made:
                continue
            value = _compared(row.value(column))
            if value in refused:
                self.drop(f"{column} is {value[:40] or 'empty'}")
                return False
        return counts

    def drop(self, reason: str) -> None:
        """Count a row that is left out; all reasons beyond the first of them share one entry."""
        known = reason in self.dropped or len(self.dropped) < _VALUES_SHOWN
        self.dropped[reason if known else "other values"] += 1


def _expanded_columns(expand: str | list[str] | dict[str, dict[str, str]]) -> list[str]:
    """The columns of the data that `expand` reads."""
    if isinstance(expand, dict):
        return [column for own in expand.values() for column in own.values()]
    return [expand] if isinstance(expand, str) else expand


def _asked(values: Mapping[str, Any]) -> dict[str, list[str]]:
    """The values of `where` or `where_not` by column, as they are compared; a single one may stand alone."""
    return {
        column: [_compared(value) for value in (own if isinstance(own, list) else [own])]
        for column, own in values.items()
    }


def _compared(value: Any) -> str:
    """A value of `where` or of a cell, as text without differences of writing; empty for no value."""
    if value is None or value != value:
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return folded(str(value))


def _local(hub: Hub, data_dir: Path | None) -> list[tuple[str | None, list[Path]]] | None:
    """The files of each configuration in the data folder; None if the folder has none of the set.

    They are `NAME/SPLIT*` or `NAME/CONFIG/SPLIT*`, NAME being the end of the set's id.
    """
    folder = data_dir / hub.id.rpartition("/")[2] if data_dir else None
    if folder is None or not folder.is_dir():
        return None
    files = []
    for config in hub.configs:
        inner = folder / config if config and (folder / config).is_dir() else folder
        paths = [path for path in sorted(inner.glob(f"{hub.split}*")) if path.suffix.lower() in READERS]
        if not paths or (config and inner is folder and len(hub.configs) > 1):
            name = f"{config}/{hub.split}" if config else hub.split
            problem = f"no file {name}.parquet, .jsonl, .csv or .tsv of {hub.id} in it"
            raise DataFileError(folder, f"{problem}; put it there, or remove the folder to read the hub")
        files.append((config, paths))
    return files
