"""Writing a run folder so that a kill at any moment loses at most the time since the last checkpoint.

A benchmark is scored in portions. While a portion is being scored its tables go to
`parts/<benchmark>-<portion>.h5` from time to time, whole or not at all. When every portion of every benchmark
is complete they are added up, in order, into `scores.h5`. A resumed run reads the parts and goes on with the
next batch, and it does not matter which process scored which portion: the numbers are the same.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from culnig.core.items import Role
from culnig.core.moments import CultureMoments
from culnig.core.neurons import Layout
from culnig.core.outcomes import Outcomes
from culnig.errors import MismatchError, OutputExistsError, StoreError
from culnig.store import schema, tables
from culnig.store.compression import Compression, write_column
from culnig.store.data_parts import part_file
from culnig.store.files import disk_errors, file_hash, locked, make_folder, whole_hdf5, write_json
from culnig.store.run import RECORD_SECTIONS, open_scores, read_run_record, run_id

CHECKPOINT_SECONDS = 30.0
_WRITING_SHARE = 0.02
"""Checkpoints may cost this share of the time at most."""
_SUM_CELLS = 1 << 20
"""Cells of a table that are added up at once."""


@dataclass(frozen=True)
class Portion:
    """A portion of a benchmark's batches."""

    benchmark: str
    number: int
    of: int
    """Number of portions of the benchmark."""
    n_batches: int
    half: int | None = None
    """Which half of the questions it holds, 1 or 2; None for both."""

    @property
    def name(self) -> str:
        """Name of its files, without suffix."""
        return f"{self.benchmark}-{self.number:03d}"


@dataclass
class PortionState:
    """How far a portion has come."""

    moments: CultureMoments
    """Sums over the items so far."""
    outcomes: Outcomes
    """Answers of the portion's items, in file order."""
    places: NDArray[np.int64]
    """Place of each of them in the benchmark's item table, ascending."""
    batches_done: int
    scorers: Mapping[str, CultureMoments] = field(default_factory=dict)
    """The sums of other scorers."""


class RunWriter:
    """Owns a run folder while it is being made."""

    def __init__(
        self, folder: Path, record: dict[str, Any], layout: Layout, compression: Compression = "default"
    ) -> None:
        self.folder = folder
        self.run_id = run_id(record)
        self.compression = compression
        self._record = record
        self._layout = layout
        self._next_checkpoint = time.monotonic() + CHECKPOINT_SECONDS
        self._stack = contextlib.ExitStack()

    @classmethod
    def open(
        cls,
        folder: Path,
        record: dict[str, Any],
        layout: Layout,
        *,
        resume: bool = False,
        overwrite: bool = False,
        compression: Compression = "default",
    ) -> RunWriter:
        """Start a run folder, or go on with one.

        OutputExistsError where something is in the way, MismatchError where a run to be resumed was asked
        for something else, StoreError where another process is writing it.
        """
        record = _as_read_back(record)
        if os.path.lexists(folder) and not (folder.is_dir() and _holds_nothing(folder)):
            if overwrite:
                _remove_run(folder)
            elif resume:
                check_same_request(folder, record)
            else:
                raise OutputExistsError(
                    f"{folder} exists and is not empty; add --resume to go on with that run, --overwrite to "
                    "replace it, or give another folder with -o"
                )
        make_folder(folder)
        writer = cls(folder, record, layout, compression)
        with contextlib.ExitStack() as unless_made, disk_errors(folder):
            unless_made.callback(writer.close)
            writer._stack.enter_context(locked(folder))
            for leftover in folder.rglob("*.tmp"):
                leftover.unlink()
            if writer.finished:  # killed after the last rename, or resumed for nothing
                writer.complete()
            else:
                write_json(folder / schema.RUN_FILE, record)
                (folder / schema.PARTS_FOLDER).mkdir(exist_ok=True)
            unless_made.pop_all()
        return writer

    @classmethod
    def join(
        cls, folder: Path, record: dict[str, Any], layout: Layout, *, compression: Compression = "default"
    ) -> RunWriter:
        """Write portions of a run that another process has opened with the same request."""
        record = _as_read_back(record)
        check_same_request(folder, record)
        return cls(folder, record, layout, compression)

    def close(self) -> None:
        """Let other processes at the folder."""
        self._stack.close()

    def __enter__(self) -> RunWriter:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def finished(self) -> bool:
        """Whether `scores.h5` is there."""
        return (self.folder / schema.SCORES_FILE).exists()

    def checkpoint_due(self) -> bool:
        """Whether it is time to save a part."""
        return time.monotonic() >= self._next_checkpoint

    def save_part(self, portion: Portion, role: Role, split: str, state: PortionState) -> None:
        """Save how far a portion has come."""
        began = time.monotonic()
        with whole_hdf5(self._part(portion)) as file:
            _mark(file)
            file.attrs[schema.RUN_ID] = self.run_id
            tables.write_layout(file, self._layout)
            group = file.create_group(f"{schema.BENCHMARKS}/{portion.benchmark}")
            group.attrs[schema.ROLE], group.attrs[schema.SPLIT] = role, split
            group.attrs[schema.BATCHES_DONE] = state.batches_done
            group.attrs[schema.N_BATCHES] = portion.n_batches
            group.attrs[schema.PORTIONS] = portion.of
            if portion.half is not None:
                group.attrs[schema.HALF] = portion.half
            write_column(group, schema.PLACE, state.places)
            tables.write_moments(group, state.moments, "fast")
            tables.write_scorers(group, state.scorers, "fast")
            tables.write_outcomes(group, state.outcomes)
        took = time.monotonic() - began
        self._next_checkpoint = time.monotonic() + max(CHECKPOINT_SECONDS, took / _WRITING_SHARE)

    def read_part(self, portion: Portion) -> PortionState | None:
        """How far a portion has come, or None where it has not begun. StoreError where it is another's."""
        path = self._part(portion)
        with disk_errors(path):
            begun = path.exists()
        if not begun:
            return None
        with open_scores(path) as file:
            check_owner(file, self.run_id)
            group = tables.group_at(tables.group_at(file, schema.BENCHMARKS), portion.benchmark)
            outcomes = tables.read_outcomes(group)
            return PortionState(
                tables.read_moments(group, self._layout.n_neurons),
                outcomes,
                tables.read_places(group, schema.PLACE, len(outcomes.id)),
                tables.count_attribute(group, schema.BATCHES_DONE),
                tables.read_scorers(group, self._layout.n_neurons),
            )

    def data_file(self, folder: str, portion: Portion, first_batch: int) -> Path:
        """Where the item scores or tensors of some batches of a portion go."""
        place = self.folder / folder
        with disk_errors(place):
            place.mkdir(exist_ok=True)
        return place / part_file(portion.benchmark, portion.number, first_batch)

    def discard_data(self, folder: str, portion: Portion, batches_done: int) -> None:
        """Remove item scores or tensors that are newer than the checkpoint: they are made again."""
        place = self.folder / folder
        for path in place.iterdir() if place.is_dir() else ():
            found = re.fullmatch(rf"part-{re.escape(portion.name)}-(\d{{6,}})\.h5", path.name)
            if found and int(found[1]) >= batches_done:
                path.unlink()

    def require_data(self, portion: Portion, paths: Iterable[Path]) -> None:
        """StoreError where item scores or tensors of batches that are scored are gone."""
        for path in paths:
            if not path.exists():
                raise StoreError(
                    f"{path} is missing; put it back, or remove {self._part(portion)} and run the same "
                    "`score` command with --resume, which scores that portion again"
                )

    def finish(self, portions: Mapping[str, int]) -> None:
        """Add up the portions of all benchmarks (name to number of portions) into `scores.h5`.

        StoreError where one is missing or not complete.
        """
        with self.new_scores() as benchmarks:
            for name, count in portions.items():
                paths = [self._part(Portion(name, number, count, 0)) for number in range(count)]
                with contextlib.ExitStack() as stack:
                    parts = [stack.enter_context(self._complete_part(path, name)) for path in paths]
                    add_up(benchmarks.create_group(name), parts, self._layout.n_neurons, self.compression)
        self.complete()

    @contextlib.contextmanager
    def new_scores(self) -> Iterator[h5py.Group]:
        """The group that the benchmarks of `scores.h5` go into; the file appears when the context ends."""
        with whole_hdf5(self.folder / schema.SCORES_FILE) as file:
            _mark(file)
            tables.write_layout(file, self._layout)
            yield file.create_group(schema.BENCHMARKS)

    @contextlib.contextmanager
    def _complete_part(self, path: Path, name: str) -> Iterator[h5py.Group]:
        if not path.exists():
            raise StoreError(f"{path} is missing; finish it with the same `score` command and --resume")
        with open_scores(path) as file:
            check_owner(file, self.run_id)
            group = tables.group_at(tables.group_at(file, schema.BENCHMARKS), name)
            done, of = (tables.count_attribute(group, key) for key in (schema.BATCHES_DONE, schema.N_BATCHES))
            if done < of:
                raise StoreError(
                    f"{path}: {done} of {of} batches are scored; finish it with the same `score` command "
                    "and --resume"
                )
            yield group

    def record_more(self, **facts: Any) -> None:
        """Put facts into run.json that are no part of the request."""
        self._record = {**self._record, **facts}
        write_json(self.folder / schema.RUN_FILE, self._record)

    def complete(self) -> None:
        """Say in run.json that the run is whole, with the hash of its scores, and remove the parts."""
        data = [
            path.relative_to(self.folder).as_posix()
            for folder in (schema.ITEMS_FOLDER, schema.TENSORS_FOLDER)
            for path in sorted((self.folder / folder).glob("part-*.h5"))
        ]
        facts = {schema.DATA_FILES: data} if data else {}
        hashes = {schema.SCORES_FILE: file_hash(self.folder / schema.SCORES_FILE)}
        self.record_more(complete=True, **{schema.HASHES: hashes}, **facts)
        shutil.rmtree(self.folder / schema.PARTS_FOLDER, ignore_errors=True)
        self.close()

    def _part(self, portion: Portion) -> Path:
        return self.folder / schema.PARTS_FOLDER / f"{portion.name}.h5"


def check_owner(file: h5py.File, expected: str) -> None:
    """StoreError where a part belongs to another run."""
    owner = file.attrs.get(schema.RUN_ID)
    if owner != expected:
        raise StoreError(
            f"{file.filename}: belongs to another run ({str(owner)[:12]}…, expected {expected[:12]}…); "
            "put the right file back, or remove it and run the same `score` command with --resume"
        )


def add_up(target: h5py.Group, parts: list[h5py.Group], n_neurons: int, compression: Compression) -> None:
    """Write a benchmark's group as the sum of its parts, which hold different items; in their order."""
    for attribute in (schema.ROLE, schema.SPLIT):
        target.attrs[attribute] = parts[0].attrs[attribute]
    first = [number for number, part in enumerate(parts) if part.attrs.get(schema.HALF) == 1]
    _add_moments(target, parts, n_neurons, compression, first)
    for scorer in tables.scorer_names(parts[0]):
        inner = f"{schema.SCORERS}/{scorer}"
        sources = [tables.group_at(tables.group_at(part, schema.SCORERS), scorer) for part in parts]
        _add_moments(target.create_group(inner), sources, n_neurons, compression, first)
    answers = []
    for part in parts:
        outcomes = tables.read_outcomes(part)
        answers.append((tables.read_places(part, schema.PLACE, len(outcomes.id)), outcomes))
    tables.write_outcomes(target, Outcomes.joined(answers))


def _add_moments(
    target: h5py.Group,
    parts: list[h5py.Group],
    n_neurons: int,
    compression: Compression,
    first_half: Sequence[int],
) -> None:
    """Write the sum of the parts, and that of those that hold the first half of the questions, if any do."""
    counts = [tables.read_cultures(part) for part in parts]
    cultures = counts[0][0]
    p_gold = sum(tables.read_p_gold_sum(part) for part in parts)
    tables.write_counts(target, cultures, sum(n for _, n in counts), p_gold)  # type: ignore[arg-type]
    shape = (len(cultures), n_neurons)
    for name in schema.TABLES:
        sources = [tables.table_at(part, name, shape) for part in parts]
        over_cultures = _add_table(target, name, sources, compression)
        if name == schema.SUM:
            tables.write_total(target, over_cultures, compression)
            if first_half:
                half = target.create_group(schema.FIRST_HALF)
                write_column(
                    half, schema.N_ITEMS, np.sum([counts[number][1] for number in first_half], axis=0)
                )
                _add_table(half, name, [sources[number] for number in first_half], compression)


def _add_table(
    target: h5py.Group, name: str, sources: list[h5py.Dataset], compression: Compression
) -> NDArray[np.float64]:
    """Write the sum of tables of one shape, a few cells at a time; its sum over cultures, (neuron,)."""
    n_cultures, n_neurons = sources[0].shape
    dataset = tables.create_table(target, name, sources[0].shape, sources[0].dtype, compression)
    over_cultures = np.zeros(n_neurons)
    for row in range(n_cultures):
        for start in range(0, n_neurons, _SUM_CELLS):
            columns = slice(start, start + _SUM_CELLS)
            total = tables.read_cells(sources[0], row, columns)
            for source in sources[1:]:
                total += tables.read_cells(source, row, columns)
            dataset[row, columns] = total
            over_cultures[columns] += total
    return over_cultures


def _as_read_back(record: dict[str, Any]) -> dict[str, Any]:
    return {
        schema.FORMAT: schema.RUN_FORMAT,
        schema.FORMAT_VERSION: schema.RUN_FORMAT_VERSION,
        **json.loads(json.dumps(record)),  # tuples become lists
    }


def _mark(file: h5py.File) -> None:
    file.attrs[schema.FORMAT] = schema.RUN_FORMAT
    file.attrs[schema.FORMAT_VERSION] = schema.RUN_FORMAT_VERSION


def _holds_nothing(folder: Path) -> bool:
    return all(path.suffix == ".tmp" for path in folder.iterdir())


def _remove_run(folder: Path) -> None:
    """Remove a run of ours; anything else is refused, whatever the user said."""
    try:
        read_run_record(folder)
    except Exception:
        raise OutputExistsError(
            f"{folder} is not a run of culnig, so --overwrite leaves it alone; give another folder with -o"
        ) from None
    with locked(folder):
        shutil.rmtree(folder)


def request_differences(stored: Mapping[str, Any], asked: Mapping[str, Any]) -> list[str]:
    """How two records differ in what was asked for, one text per difference."""
    return [
        f"{key}.{inner}: the run has {stored.get(key, {}).get(inner)!r}, "
        f"asked for is {asked[key].get(inner)!r}"
        for key in RECORD_SECTIONS
        for inner in sorted({*asked[key], *stored.get(key, {})})
        if stored.get(key, {}).get(inner) != asked[key].get(inner)
    ]


def check_same_request(folder: Path, record: Mapping[str, Any]) -> None:
    """MismatchError, naming every difference, where the run in `folder` was made for something else."""
    stored = read_run_record(folder)
    differences = request_differences(stored, record)
    if stored.get("shard") != record.get("shard"):
        differences.append(f"shard: the run is {stored.get('shard')}, asked for is {record.get('shard')}")
    if differences:
        raise MismatchError(
            f"{folder} cannot be resumed, it was made for something else: {'; '.join(differences)}"
        )
