"""Reading everything in a run folder once, to find what is damaged."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import h5py

from culnig.core.neurons import Layout
from culnig.errors import StoreError, option
from culnig.provenance import file_hash
from culnig.store import schema, tables
from culnig.store.data_parts import read_part
from culnig.store.hdf5 import open_hdf5
from culnig.store.members import every_dataset
from culnig.store.pairs import for_each_pair
from culnig.store.record import read_run_record
from culnig.store.run import Run
from culnig.store.tensors import Tensors

_READ_BYTES = 64 << 20
"""Read at once."""
_THREADS = 2
"""One compares while another reads."""
_ANY_NUMBER = 1 << 62
"""Of items in the benchmark: a part is checked by itself."""


class FileState(NamedTuple):
    """One file of a run."""

    file: str
    n_bytes: int
    problem: str | None
    """None if all is well."""


def verify_run(folder: Path) -> Iterator[FileState]:
    """Read every file of a run to the last byte; StoreError only where run.json cannot be read.

    `scores.h5` is compared with its SHA-256 in run.json; item scores have a checksum in every chunk, tensors
    a hash of every item. An unfinished run is checked as far as it is.
    """
    record = read_run_record(folder)
    yield FileState(schema.RUN_FILE, (folder / schema.RUN_FILE).stat().st_size, None)
    scores = folder / schema.SCORES_FILE
    if scores.exists():
        expected = record.get(schema.HASHES, {}).get(schema.SCORES_FILE)
        yield _state(folder, scores, _problem(lambda: _check_scores(folder, expected)))
    recorded = {str(name) for name in record.get(schema.DATA_FILES, [])}
    present = {
        path.relative_to(folder).as_posix()
        for inner in (schema.PARTS_FOLDER, schema.ITEMS_FOLDER, schema.TENSORS_FOLDER)
        for path in (folder / inner).glob("*.h5")
    }
    for name in sorted(recorded | present):
        path = folder / name
        yield _state(folder, path, _problem(partial(_check_data, path)) if name in present else "is missing")
    if scores.exists() and _problem(lambda: Run(folder)) is None:  # else scores.h5 was named above
        run = Run(folder)
        read_parts = run.item_parts if run.level == "item" else run.tensor_parts
        for name in run.benchmarks if run.level != "culture" else ():
            if problem := _problem(partial(read_parts, name)):
                yield FileState(f"items of {name}", 0, problem)


def check_finished(folder: Path) -> None:
    """StoreError if a file that a run was finished with is gone or another one.

    `scores.h5` is read whole, and which items there are in item scores and tensors.
    """
    expected = read_run_record(folder).get(schema.HASHES, {}).get(schema.SCORES_FILE)
    advice = f"put the right file back, or score again with {option('overwrite')}"
    if expected is not None and file_hash(folder / schema.SCORES_FILE) != expected:
        raise StoreError(
            f"{folder / schema.SCORES_FILE} changed after the run was finished (its SHA-256 is not "
            f"{expected[:12]}…); {advice}"
        )
    run = Run(folder)
    try:
        for name in run.benchmarks if run.level != "culture" else ():
            run.item_parts(name) if run.level == "item" else run.tensor_parts(name)
    except StoreError as error:
        raise StoreError(f"{error.args[0]}; or score again with {option('overwrite')}") from None


def _state(folder: Path, path: Path, problem: str | None) -> FileState:
    size = path.stat().st_size if path.exists() else 0
    return FileState(path.relative_to(folder).as_posix(), size, problem)


def _problem(check: Callable[[], object]) -> str | None:
    """The error message of a check, or None."""
    try:
        check()
    except StoreError as error:
        return str(error)
    return None


def _check_scores(folder: Path, expected: str | None) -> None:
    if expected is not None and file_hash(folder / schema.SCORES_FILE) != expected:
        raise StoreError(f"is not the file that the run was finished with (SHA-256 {expected[:12]}…)")
    run = Run(folder)
    for name in run.benchmarks:
        run.moments(name)
        run.outcomes(name)


def _check_data(path: Path) -> None:
    with open_hdf5(path) as file:
        has_tensors = schema.LAYERS in file
        for dataset in every_dataset(file):
            if not (has_tensors and dataset.name.startswith(f"/{schema.LAYERS}/")):
                _read_through(dataset)
        if has_tensors:
            _check_tensors(file)


def _check_tensors(file: h5py.File) -> None:
    """Read the tensors, which compares the hash of every item."""
    prompts = read_part(Path(file.filename), schema.TENSORS_FORMAT, _ANY_NUMBER).prompts
    widths = []
    for layer in tables.group_at(file, schema.LAYERS):
        for module in tables.group_at(file, f"{schema.LAYERS}/{layer}"):
            group = tables.group_at(file, f"{schema.LAYERS}/{layer}/{module}")
            widths.append((int(layer), module, tables.column_at(group, schema.ACTIVATION, "fu").shape[-1]))
    stored = sorted(f"{layer}/{module}" for layer, module, _ in widths)
    if stored != sorted(tables.read_texts(file, schema.STORED_MODULES)):
        raise StoreError(
            f"{file.filename}: /{schema.STORED_MODULES} names other modules than /{schema.LAYERS} holds"
        )
    tensors = Tensors(file, prompts, Layout.from_widths(widths))
    for_each_pair(tensors, tensors.segments, lambda *pair: None, memory=_READ_BYTES, threads=_THREADS)


def _read_through(dataset: h5py.Dataset) -> None:
    if dataset.ndim == 0 or dataset.size == 0:
        tables.read_cells(dataset)
        return
    rows = max(1, _READ_BYTES // max(1, dataset.nbytes // dataset.shape[0]))
    for start in range(0, dataset.shape[0], rows):
        tables.read_cells(dataset, slice(start, start + rows))
