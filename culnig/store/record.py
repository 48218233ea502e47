"""The record `run.json` of a run, its id, and checks that a file belongs to it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py

from culnig.errors import StoreError, option
from culnig.store import schema
from culnig.store.files import read_json
from culnig.store.formats import check_format
from culnig.store.hdf5 import open_hdf5
from culnig.store.output_kind import REPLACES, OutputKind
from culnig.store.prompts import without_prompts

RECORD_SECTIONS = ("model", "settings", "benchmarks")
"""Objects that every run.json has, and that a resumed run must have in common with the request."""


def run_id(record: Mapping[str, Any]) -> str:
    """SHA-256 of the request, prompts apart: earlier versions did not record them."""
    asked = {section: without_prompts(record[section]) for section in RECORD_SECTIONS}
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def read_run_record(folder: Path) -> dict[str, Any]:
    """Read `run.json`; StoreError if it is missing, foreign or of another version."""
    if not os.path.isdir(folder):  # noqa: PTH112 - unlike Path.is_dir, never raises
        raise StoreError(f"{folder}: not a folder; a run is a folder with {schema.RUN_FILE} in it")
    path = folder / schema.RUN_FILE
    record = read_json(path, "the record of a run")
    _check_run(path, record)
    for section in RECORD_SECTIONS:
        if not isinstance(record.get(section), dict):
            raise StoreError(f"{path}: {section!r} is {record.get(section)!r}, expected an object")
    if not isinstance(record["model"].get("source"), str):
        raise StoreError(f"{path}: 'model' names no source")
    _check_objects(path, {name: record.get(name, {}) for name in (schema.HASHES, "versions")})
    _check_objects(path, record["benchmarks"])
    for name, value in {
        **record.get(schema.HASHES, {}),
        "layout_hash": record["model"].get("layout_hash"),
    }.items():
        if value is not None and not isinstance(value, str):
            raise StoreError(f"{path}: the hash {name!r} is {value!r}, expected text")
    return record


def _check_objects(path: Path, values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        if not isinstance(value, dict):
            raise StoreError(f"{path}: {name!r} is {value!r}, expected an object")


def _is_finished(folder: Path) -> bool:
    return (folder / schema.SCORES_FILE).exists() and REPLACES not in read_run_record(folder)


RUN_CONTENTS = (
    schema.SCORES_FILE,
    f"{schema.PARTS_FOLDER}/*.h5",
    f"{schema.ITEMS_FOLDER}/part-*.h5",
    f"{schema.TENSORS_FOLDER}/part-*.h5",
)
"""Patterns of a run's files beside run.json."""

RUN = OutputKind(
    "a run",
    read_run_record,
    _is_finished,
    marks=(schema.RUN_FILE,),
    contents=RUN_CONTENTS,
    sections=(*RECORD_SECTIONS, "shard"),
)


def check_of_all(checks: Sequence[Mapping[str, Any] | None]) -> dict[str, Any]:
    """What work in several parts records about the checks of its model: performed only if all parts say so.

    The details are those of the last part that has any.
    """
    known = [dict(check) for check in checks if check]
    last = known[-1] if known else {"checks": [], "batch_dependence": None}
    return {**last, "performed": all(check is not None and check["performed"] for check in checks)}


@contextlib.contextmanager
def open_scores(path: Path) -> Iterator[h5py.File]:
    """Open an HDF5 file of a run for reading and check its format attributes."""
    with open_hdf5(path) as file:
        _check_run(path, file.attrs)
        yield file


def _check_run(path: Path, said: Mapping[str, Any]) -> None:
    named = (said.get(schema.FORMAT), said.get(schema.FORMAT_VERSION))
    check_format(path, *named, schema.RUN_FORMAT, schema.RUN_FORMAT_VERSION)


def check_owner(file: h5py.File, expected: str, *, optional: bool = False) -> None:
    """StoreError if a file belongs to another run; with `optional`, it need not name one."""
    owner = file.attrs.get(schema.RUN_ID)
    if owner != expected and not (optional and owner is None):
        raise StoreError(
            f"{file.filename}: belongs to another run ({str(owner)[:12]}…, expected {expected[:12]}…); "
            f"put the right file back, or remove it and repeat the same scoring with {option('resume')}"
        )


def one_of(group: h5py.Group, attribute: str, allowed: Sequence[str]) -> str:
    """An attribute that is one of some texts; StoreError if it is not."""
    value = group.attrs.get(attribute)
    if not isinstance(value, str) or value not in allowed:
        raise StoreError(
            f"{group.file.filename}: {group.name}: {attribute} is {value!r}, expected one of "
            f"{', '.join(allowed)}"
        )
    return value
