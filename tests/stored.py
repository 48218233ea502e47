"""What is in a run folder, number by number, so that two can be compared to the bit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin  # noqa: F401 - makes h5py read what is packed
import numpy as np

from culnig.store.heap import HEAPS

Contents = dict[str, dict[str, Any]]


def contents(folder: Path) -> Contents:
    """Every dataset and attribute of every HDF5 file, by file and name."""
    return {
        path.relative_to(folder).as_posix(): _of_file(path)
        for path in sorted(folder.rglob("*.h5"))
        if path.is_file()
    }


def _of_file(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}

    def note(name: str, member: h5py.HLObject) -> None:
        for attribute, value in member.attrs.items():
            if attribute != HEAPS:  # where the file keeps text, not what it holds
                found[f"{name}@{attribute}"] = value
        if isinstance(member, h5py.Dataset):
            values = np.asarray(member[()])
            found[name] = (str(values.dtype), values.shape, values.tobytes())

    with h5py.File(path) as file:
        note("", file)
        file.visititems(note)
    return found


def assert_same(found: Contents, expected: Contents) -> None:
    """Equal files with equal names, types, shapes and bits."""
    assert list(found) == list(expected)
    for path, datasets in expected.items():
        assert list(found[path]) == list(datasets), path
        different = [name for name, value in datasets.items() if found[path][name] != value]
        assert different == [], path


def leftovers(folder: Path) -> list[str]:
    """Files that a finished run does not have."""
    return [
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.suffix == ".tmp" or path.parent.name == "parts" or path.name == "parts"
    ]


def document_of(path: Path) -> dict[str, Any]:
    """A JSON file of culnig without its checksum: as a test may write it again with changes."""
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    document.pop("checksum", None)
    return document
