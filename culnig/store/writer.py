"""Writing a run folder so that a kill at any moment loses at most the time since the last checkpoint.

While a benchmark is being scored its tables go to `parts/<name>.h5` from time to time, whole or not at all.
When every benchmark is complete the parts become `scores.h5`. A resumed run reads the parts and goes on
with the next batch, so it ends with the same numbers as a run that was never interrupted.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from culnig.errors import MismatchError, OutputExistsError, StoreError
from culnig.items import Role
from culnig.neurons import Layout
from culnig.outcomes import Outcomes
from culnig.scores import CultureMoments
from culnig.store import schema, tables
from culnig.store.files import make_folder, whole_hdf5, write_json
from culnig.store.run import RECORD_SECTIONS, open_scores, read_run_record

CHECKPOINT_SECONDS = 30.0
_WRITING_SHARE = 0.02
"""Checkpoints may cost this share of the time at most."""


class RunWriter:
    """Owns a run folder while it is being made."""

    def __init__(self, folder: Path, record: dict[str, Any], layout: Layout) -> None:
        self.folder = folder
        self._record = record
        self._layout = layout
        self._next_checkpoint = time.monotonic() + CHECKPOINT_SECONDS

    @classmethod
    def open(
        cls,
        folder: Path,
        record: dict[str, Any],
        layout: Layout,
        *,
        resume: bool = False,
        overwrite: bool = False,
    ) -> RunWriter:
        """Start a run folder, or go on with one.

        OutputExistsError where something is in the way, MismatchError where a run to be resumed was asked
        for something else.
        """
        record = {
            schema.FORMAT: schema.RUN_FORMAT,
            schema.FORMAT_VERSION: schema.RUN_FORMAT_VERSION,
            **json.loads(json.dumps(record)),  # as it will be read back: tuples become lists
        }
        if os.path.lexists(folder) and not (folder.is_dir() and _holds_nothing(folder)):
            if overwrite:
                _remove_run(folder)
            elif resume:
                _check_same_request(folder, record)
            else:
                raise OutputExistsError(
                    f"{folder} exists and is not empty; add --resume to go on with that run, --overwrite to "
                    "replace it, or give another folder with -o"
                )
        make_folder(folder)
        writer = cls(folder, record, layout)
        if writer.finished:  # killed after the last rename, or resumed for nothing
            writer._close()
        else:
            write_json(folder / schema.RUN_FILE, record)
            (folder / schema.PARTS_FOLDER).mkdir(exist_ok=True)
        for leftover in folder.rglob("*.tmp"):
            leftover.unlink()
        return writer

    @property
    def finished(self) -> bool:
        """Whether `scores.h5` is there."""
        return (self.folder / schema.SCORES_FILE).exists()

    def checkpoint_due(self) -> bool:
        """Whether it is time to save a part."""
        return time.monotonic() >= self._next_checkpoint

    def save_part(
        self,
        name: str,
        role: Role,
        split: str,
        moments: CultureMoments,
        outcomes: Outcomes,
        batches_done: int,
    ) -> None:
        """Save what is known of a benchmark after `batches_done` batches."""
        began = time.monotonic()
        with whole_hdf5(self._part(name)) as file:
            _mark(file)
            group = file.create_group(f"{schema.BENCHMARKS}/{name}")
            group.attrs[schema.ROLE], group.attrs[schema.SPLIT] = role, split
            group.attrs[schema.BATCHES_DONE] = batches_done
            tables.write_moments(group, moments)
            tables.write_outcomes(group, outcomes)
        took = time.monotonic() - began
        self._next_checkpoint = time.monotonic() + max(CHECKPOINT_SECONDS, took / _WRITING_SHARE)

    def read_part(self, name: str) -> tuple[CultureMoments, Outcomes, int] | None:
        """What the part of a benchmark holds, or None where there is none yet."""
        if not self._part(name).exists():
            return None
        with open_scores(self._part(name)) as file:
            group = tables.group_at(tables.group_at(file, schema.BENCHMARKS), name)
            batches_done = group.attrs.get(schema.BATCHES_DONE)
            if batches_done is None or np.ndim(batches_done):
                raise StoreError(f"{self._part(name)}: attribute {schema.BATCHES_DONE} is missing")
            return (
                tables.read_moments(group, self._layout.n_neurons),
                tables.read_outcomes(group),
                int(batches_done),
            )

    def finish(self, names: list[str]) -> None:
        """Join the parts of all benchmarks into `scores.h5` and remove them."""
        with whole_hdf5(self.folder / schema.SCORES_FILE) as file:
            _mark(file)
            tables.write_layout(file, self._layout)
            benchmarks = file.create_group(schema.BENCHMARKS)
            for name in names:
                with open_scores(self._part(name)) as part:
                    part.copy(part[schema.BENCHMARKS][name], benchmarks, name)
                del benchmarks[name].attrs[schema.BATCHES_DONE]
        self._close()

    def _close(self) -> None:
        write_json(self.folder / schema.RUN_FILE, {**self._record, "complete": True})
        shutil.rmtree(self.folder / schema.PARTS_FOLDER, ignore_errors=True)

    def _part(self, name: str) -> Path:
        return self.folder / schema.PARTS_FOLDER / f"{name}.h5"


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
    shutil.rmtree(folder)


def _check_same_request(folder: Path, record: dict[str, Any]) -> None:
    stored = read_run_record(folder)
    differences = [
        f"{key}.{inner}: the run has {stored.get(key, {}).get(inner)!r}, "
        f"asked for is {record[key].get(inner)!r}"
        for key in RECORD_SECTIONS
        for inner in sorted({*record[key], *stored.get(key, {})})
        if stored.get(key, {}).get(inner) != record[key].get(inner)
    ]
    if differences:
        raise MismatchError(
            f"{folder} cannot be resumed, it was made for something else: {'; '.join(differences)}"
        )
