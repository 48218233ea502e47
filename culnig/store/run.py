"""Reading a run folder."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from culnig.errors import StoreError, UnknownNameError
from culnig.items import Role
from culnig.neurons import Layout
from culnig.outcomes import Outcomes
from culnig.scores import CultureMoments
from culnig.store import schema, tables
from culnig.store.files import file_hash, open_hdf5, read_json

RECORD_SECTIONS = ("model", "settings", "benchmarks")
"""Objects that every run.json has, and that a resumed run must share with the request."""
_ROLES = ("target", "control", "exclusion")


@dataclass(frozen=True)
class StoredBenchmark:
    """What `scores.h5` says about one benchmark, before its tables are read."""

    name: str
    role: Role
    split: str
    cultures: tuple[str, ...]
    n_items: int


class Run:
    """A finished run. Tables are read when asked for."""

    def __init__(self, folder: Path | str) -> None:
        """Open the run in `folder`; StoreError where there is none, or it is damaged or unfinished."""
        self.folder = Path(folder)
        if not os.path.lexists(self.folder):
            raise StoreError(f"{self.folder}: no such run; make one with `culnig-engine score … -o {folder}`")
        self.record = read_run_record(self.folder)
        self.scores_file = self.folder / schema.SCORES_FILE
        if not self.scores_file.exists():
            raise StoreError(
                f"{self.folder}: the run is not finished; run the same `score` command with --resume"
            )
        with open_scores(self.scores_file) as file:
            self.layout: Layout = tables.read_layout(file)
            benchmarks = tables.group_at(file, schema.BENCHMARKS)
            self.benchmarks: dict[str, StoredBenchmark] = {
                name: _describe(name, tables.group_at(benchmarks, name)) for name in benchmarks
            }

    @contextlib.contextmanager
    def _benchmark(self, name: str) -> Iterator[h5py.Group]:
        if name not in self.benchmarks:
            raise UnknownNameError(f"benchmark of run {self.folder}:", name, self.benchmarks)
        with open_scores(self.scores_file) as file:
            yield tables.group_at(tables.group_at(file, schema.BENCHMARKS), name)

    @cached_property
    def scores_hash(self) -> str:
        """SHA-256 of `scores.h5`."""
        return file_hash(self.scores_file)

    @property
    def model(self) -> str:
        """Name of the model, as it was asked for."""
        return str(self.record["model"]["source"])

    def moments(self, name: str) -> CultureMoments:
        """Score tables of a benchmark."""
        with self._benchmark(name) as group:
            return tables.read_moments(group, self.layout.n_neurons)

    def outcomes(self, name: str) -> Outcomes:
        """Item table of a benchmark."""
        with self._benchmark(name) as group:
            return tables.read_outcomes(group)

    def with_role(self, role: Role) -> list[StoredBenchmark]:
        """Benchmarks of a role, by name."""
        return [stored for _, stored in sorted(self.benchmarks.items()) if stored.role == role]


def read_run_record(folder: Path) -> dict[str, Any]:
    """Read `run.json`; StoreError where it is missing, foreign or of another version."""
    if not os.path.isdir(folder):  # noqa: PTH112 - unlike Path.is_dir, never raises
        raise StoreError(f"{folder}: not a folder; a run is a folder with {schema.RUN_FILE} in it")
    record = read_json(folder / schema.RUN_FILE, "the record of a run")
    path = folder / schema.RUN_FILE
    _check_format(path, record.get(schema.FORMAT), record.get(schema.FORMAT_VERSION))
    for section in RECORD_SECTIONS:
        if not isinstance(record.get(section), dict):
            raise StoreError(f"{path}: {section!r} is {record.get(section)!r}, expected an object")
    if not isinstance(record["model"].get("source"), str):
        raise StoreError(f"{path}: 'model' names no source")
    return record


@contextlib.contextmanager
def open_scores(path: Path) -> Iterator[h5py.File]:
    """Open an HDF5 file of a run for reading and check its format attributes."""
    with open_hdf5(path) as file:
        _check_format(path, file.attrs.get(schema.FORMAT), file.attrs.get(schema.FORMAT_VERSION))
        yield file


def _check_format(path: Path, found: Any, version: Any) -> None:
    if not isinstance(found, str) or found != schema.RUN_FORMAT:
        raise StoreError(f"{path}: format is {found!r}, expected {schema.RUN_FORMAT!r}; not a run of culnig")
    if np.ndim(version) or version != schema.RUN_FORMAT_VERSION:
        raise StoreError(
            f"{path}: format version {version}, this culnig reads {schema.RUN_FORMAT_VERSION}; "
            "use the version of culnig-engine that run.json names"
        )


def _describe(name: str, group: h5py.Group) -> StoredBenchmark:
    role, split = group.attrs.get(schema.ROLE), group.attrs.get(schema.SPLIT)
    if not isinstance(role, str) or role not in _ROLES:
        raise StoreError(
            f"{group.file.filename}: {group.name}: role is {role!r}, expected one of {', '.join(_ROLES)}"
        )
    cultures, n_items = tables.read_cultures(group)
    return StoredBenchmark(name, role, str(split), cultures, int(n_items.sum()))  # type: ignore[arg-type]
