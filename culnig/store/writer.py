"""Write a run folder so that a kill at any moment loses at most the work since the last checkpoint.

A benchmark is scored in portions. While a portion is being scored its tables go to
`parts/<benchmark>-<portion>.h5` from time to time, whole or not at all. When every portion of every benchmark
is complete they are added up, in order, into `scores.h5`. A resumed run reads the parts and continues with
the next batch, and it does not matter which process scored which portion: the numbers are the same.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterable, Iterator, Mapping
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
from culnig.core.text import file_name
from culnig.errors import StoreError, option
from culnig.provenance import file_hash
from culnig.store import schema, tables
from culnig.store.compression import Compression, write_column
from culnig.store.data_parts import part_file
from culnig.store.files import disk_errors, make_folder, remove, remove_matching, write_json
from culnig.store.hdf5 import whole_hdf5
from culnig.store.output_folder import OutputFolder, check_same_request
from culnig.store.output_kind import as_stored
from culnig.store.record import RUN, check_owner, open_scores, read_run_record, run_id
from culnig.store.sums import add_benchmark
from culnig.store.verify import check_finished

CHECKPOINT_SECONDS = 30.0
_WRITING_SHARE = 0.02
"""Maximum share of the time that checkpoints may cost."""


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
        return f"{file_name(self.benchmark)}-{self.number:03d}"


@dataclass
class PortionState:
    """The state of a portion."""

    moments: CultureMoments
    """Sums over the items so far."""
    outcomes: Outcomes
    """Answers of the portion's items, in file order."""
    indices: NDArray[np.int64]
    """Index of each of them in the benchmark's item table, ascending."""
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
        self._record = _marked(as_stored(record))
        self._layout = layout
        self._next_checkpoint = time.monotonic() + CHECKPOINT_SECONDS
        self._output: OutputFolder | None = None

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
        """Start a run folder, or continue one; raises the errors of `OutputFolder.open`."""
        writer = cls(folder, record, layout, compression)
        writer._output = OutputFolder.open(folder, RUN, writer._record, resume=resume, overwrite=overwrite)
        try:
            if not writer.finished:
                make_folder(folder / schema.PARTS_FOLDER)
            elif read_run_record(folder).get("complete") is True:  # resumed for nothing
                check_finished(folder)
                writer._remove_parts()
            else:  # killed after the last rename
                check_finished(folder)
                writer.complete()
        except BaseException:
            writer.close()
            raise
        return writer

    @classmethod
    def join(
        cls, folder: Path, record: dict[str, Any], layout: Layout, *, compression: Compression = "default"
    ) -> RunWriter:
        """Write portions of a run that another process has opened with the same request."""
        check_same_request(folder, RUN, record)
        return cls(folder, record, layout, compression)

    def close(self) -> None:
        """Unlock the folder for other processes."""
        if self._output is not None:
            self._output.close()

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
        """Save the state of a portion."""
        began = time.monotonic()
        with whole_hdf5(self._part(portion)) as file:
            file.attrs.update(_marked({}))
            file.attrs[schema.RUN_ID] = self.run_id
            tables.write_layout(file, self._layout)
            group = file.create_group(f"{schema.BENCHMARKS}/{portion.benchmark}")
            group.attrs[schema.ROLE], group.attrs[schema.SPLIT] = role, split
            group.attrs[schema.BATCHES_DONE] = state.batches_done
            group.attrs[schema.N_BATCHES] = portion.n_batches
            group.attrs[schema.PORTIONS] = portion.of
            if portion.half is not None:
                group.attrs[schema.HALF] = portion.half
            write_column(group, schema.ITEM_INDEX, state.indices)
            tables.write_moments(group, state.moments, "fast")
            tables.write_scorers(group, state.scorers, "fast")
            tables.write_outcomes(group, state.outcomes)
        took = time.monotonic() - began
        self._next_checkpoint = time.monotonic() + max(CHECKPOINT_SECONDS, took / _WRITING_SHARE)

    def read_part(self, portion: Portion) -> PortionState | None:
        """The state of a portion, or None if it has not started. StoreError if it belongs to another run."""
        path = self._part(portion)
        with disk_errors(path):
            begun = path.exists()
        if not begun:
            return None
        with self._open_part(portion) as group:
            outcomes = tables.read_outcomes(group)
            return PortionState(
                tables.read_moments(group, self._layout.n_neurons),
                outcomes,
                tables.read_item_indices(group, len(outcomes.id)),
                tables.count_attribute(group, schema.BATCHES_DONE),
                tables.read_scorers(group, self._layout.n_neurons),
            )

    def batches_done(self, portion: Portion) -> int:
        """How many of a portion's batches are saved. StoreError as for `read_part`."""
        if not self._part(portion).exists():
            return 0
        with self._open_part(portion) as group:
            return tables.count_attribute(group, schema.BATCHES_DONE)

    def data_file(self, folder: str, portion: Portion, first_batch: int) -> Path:
        """Path of the item scores or tensors of some batches of a portion."""
        parent = self.folder / folder
        make_folder(parent)
        return parent / part_file(portion.benchmark, portion.number, first_batch)

    def discard_data(self, folder: str, portion: Portion, batches_done: int) -> None:
        """Remove item scores or tensors that are newer than the checkpoint; they are computed again."""
        for path in (self.folder / folder).glob("part-*.h5"):
            match = re.fullmatch(rf"part-{re.escape(portion.name)}-(\d{{6,}})\.h5", path.name)
            if match and int(match[1]) >= batches_done:
                remove(path)

    def require_data(self, portion: Portion, paths: Iterable[Path]) -> None:
        """StoreError if item scores or tensors of scored batches are missing."""
        for path in paths:
            if not path.exists():
                raise StoreError(
                    f"{path} is missing; put it back, or remove {self._part(portion)} and repeat the same "
                    f"scoring with {option('resume')}, which scores that portion again"
                )

    def finish(self, portions: Mapping[str, int]) -> None:
        """Add up the portions of all benchmarks (name to number of portions) into `scores.h5`.

        StoreError if one is missing or not complete.
        """
        with self.new_scores() as benchmarks:
            for name, count in portions.items():
                with contextlib.ExitStack() as stack:
                    parts = [
                        stack.enter_context(self._complete_part(Portion(name, number, count, 0)))
                        for number in range(count)
                    ]
                    group = benchmarks.create_group(name)
                    for attribute in (schema.ROLE, schema.SPLIT):
                        group.attrs[attribute] = parts[0].attrs[attribute]
                    add_benchmark(group, parts, self._layout.n_neurons, self.compression)
        self.complete()

    @contextlib.contextmanager
    def new_scores(self) -> Iterator[h5py.Group]:
        """The group that the benchmarks of `scores.h5` go into; the file appears when the context ends."""
        with whole_hdf5(self.folder / schema.SCORES_FILE) as file:
            file.attrs.update(_marked({}))
            file.attrs[schema.RUN_ID] = self.run_id
            tables.write_layout(file, self._layout)
            yield file.create_group(schema.BENCHMARKS)

    @contextlib.contextmanager
    def _complete_part(self, portion: Portion) -> Iterator[h5py.Group]:
        path = self._part(portion)
        advice = f"to finish it, repeat the same scoring with {option('resume')}"
        if not path.exists():
            raise StoreError(f"{path} is missing; {advice}")
        with self._open_part(portion) as group:
            done, of = (tables.count_attribute(group, key) for key in (schema.BATCHES_DONE, schema.N_BATCHES))
            if done < of:
                raise StoreError(f"{path}: {done} of {of} batches are scored; {advice}")
            yield group

    @contextlib.contextmanager
    def _open_part(self, portion: Portion) -> Iterator[h5py.Group]:
        with open_scores(self._part(portion)) as file:
            check_owner(file, self.run_id)
            yield tables.group_at(tables.group_at(file, schema.BENCHMARKS), portion.benchmark)

    def record_more(self, **facts: Any) -> None:
        """Add facts to run.json that are not part of the request."""
        self._record = {**self._record, **facts}
        write_json(self.folder / schema.RUN_FILE, self._record)

    def complete(self) -> None:
        """Mark the run as complete in run.json, with the hash of its scores, and remove the parts."""
        data = [
            path.relative_to(self.folder).as_posix()
            for folder in (schema.ITEMS_FOLDER, schema.TENSORS_FOLDER)
            for path in sorted((self.folder / folder).glob("part-*.h5"))
        ]
        facts = {schema.DATA_FILES: data} if data else {}
        hashes = {schema.SCORES_FILE: file_hash(self.folder / schema.SCORES_FILE)}
        self.record_more(complete=True, **{schema.HASHES: hashes}, **facts)
        self._remove_parts()

    def _remove_parts(self) -> None:
        remove_matching(self.folder / schema.PARTS_FOLDER, "*.h5")
        self.close()

    def _part(self, portion: Portion) -> Path:
        return self.folder / schema.PARTS_FOLDER / f"{portion.name}.h5"


def _marked(document: Mapping[str, Any]) -> dict[str, Any]:
    return {schema.FORMAT: schema.RUN_FORMAT, schema.FORMAT_VERSION: schema.RUN_FORMAT_VERSION, **document}
