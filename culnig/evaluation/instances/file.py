"""The file of an instance-level analysis: every neuron on every item, enough to redo any table.

FILE.h5     attributes format, format_version
    /record                                     JSON: model, neuron set, benchmark, versions
    /items/{id, question_id, question, culture, topic}    one row per item
    /neurons/{module, layer, index}             one row per neuron
    /raw, /control [item, neuron]               control only where there is one
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
from numpy.typing import NDArray

from culnig.core.neurons import Layout, Neuron
from culnig.errors import StoreError
from culnig.store import tables
from culnig.store.compression import packed, tall_chunks, write_column
from culnig.store.files import make_folder
from culnig.store.formats import check_format
from culnig.store.hdf5 import open_hdf5, whole_hdf5

if TYPE_CHECKING:
    from culnig.evaluation.instances.scores import InstanceScores

INSTANCES_FORMAT = "culnig-instances"
INSTANCES_FORMAT_VERSION = 1


def write_instances(path: Path, scores: InstanceScores, layout: Layout, record: dict[str, Any]) -> None:
    """Write the file, whole or not at all."""
    make_folder(path.parent)
    neurons = layout.neurons(scores.flat)
    with whole_hdf5(path) as file:
        # of one length: HDF5 keeps other text in a heap without checksums, and may hang in a damaged one
        file.attrs["format"], file.attrs["format_version"] = (
            np.bytes_(INSTANCES_FORMAT),
            INSTANCES_FORMAT_VERSION,
        )
        tables.write_texts(file, "record", [json.dumps(record, ensure_ascii=False)])
        items = file.create_group("items")
        for name in ("id", "question_id", "question", "culture", "topic"):
            tables.write_texts(items, name, [getattr(item, name) for item in scores.items])
        columns = file.create_group("neurons")
        tables.write_texts(columns, "module", [neuron.module for neuron in neurons])
        for name in ("layer", "index"):
            write_column(columns, name, np.array([getattr(neuron, name) for neuron in neurons], np.int64))
        for name, values in (("raw", scores.raw), ("control", scores.control)):
            if values is not None:
                options = {"chunks": tall_chunks(values.shape, 8), **packed("none")} if values.size else {}
                file.create_dataset(name, data=values, **options)


@dataclass(frozen=True)
class StoredInstances:
    """What the file holds."""

    record: dict[str, Any]
    """Model, neuron set, benchmark and versions."""
    question: NDArray[np.object_] | None
    """Question of each item, shape (item,); None in files of earlier versions."""
    culture: NDArray[np.object_]
    """Culture of each item, shape (item,)."""
    topic: NDArray[np.object_]
    """Topic of each item, shape (item,)."""
    neurons: tuple[Neuron, ...]
    raw: NDArray[np.float64]
    """w(n) of the whole item, shape (item, neuron)."""
    control: NDArray[np.float64] | None
    """w(n), clamped at zero, without the question; None if there was no control."""

    @property
    def difference(self) -> NDArray[np.float64]:
        """Target − control, shape (item, neuron); raw scores where there is no control."""
        return self.raw if self.control is None else self.raw - self.control


def read_instances(path: Path) -> StoredInstances:
    """Read the file; StoreError if it is foreign, of another version or damaged."""
    with open_hdf5(path) as file:
        named = (file.attrs.get("format"), file.attrs.get("format_version"))
        check_format(path, *named, INSTANCES_FORMAT, INSTANCES_FORMAT_VERSION)
        record = _record(path, _record_text(file))
        items, chosen = tables.group_at(file, "items"), tables.group_at(file, "neurons")
        culture, topic = (
            np.array(tables.read_texts(items, name), dtype=object) for name in ("culture", "topic")
        )
        question = (
            np.array(tables.read_texts(items, "question"), dtype=object) if "question" in items else None
        )
        modules = tables.read_texts(chosen, "module")
        columns = [
            tables.read_cells(tables.table_at(chosen, name, (len(modules),), "i")).tolist()
            for name in ("layer", "index")
        ]
        neurons = tuple(Neuron(*row) for row in zip(modules, *columns, strict=True))
        if len({len(texts) for texts in (question, topic, culture) if texts is not None}) > 1:
            raise StoreError(
                f"{path}: {len(culture)} cultures of items, but not as many topics or questions; the file is "
                "damaged"
            )
        shape = (len(culture), len(neurons))
        raw = tables.read_cells(tables.table_at(file, "raw", shape, "f"))
        has_control = "control" in file
        control = tables.read_cells(tables.table_at(file, "control", shape, "f")) if has_control else None
    return StoredInstances(record, question, culture, topic, neurons, raw, control)


def copy_with_record(path: Path, target: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> bool:
    """Copy a file with another record, which `change` makes of its own; False if that is the same."""
    with open_hdf5(path) as file:
        before = _record(path, _record_text(file))
        if (record := change(before)) == before:
            return False
        with whole_hdf5(target) as copy:
            for name in ("format", "format_version"):
                copy.attrs[name] = file.attrs[name]
            tables.write_texts(copy, "record", [json.dumps(record, ensure_ascii=False)])
            for name in file:
                if name != "record":
                    file.copy(name, copy)
    return True


def _record_text(file: h5py.File) -> object:
    """The record, which files of the first edition have as an attribute."""
    return "".join(tables.read_texts(file, "record")) if "record" in file else file.attrs.get("record")


def _record(path: Path, text: object) -> dict[str, Any]:
    try:
        record = json.loads(str(text))
    except (ValueError, RecursionError) as error:
        raise StoreError(f"{path}: its record is not JSON: {error}; the file is damaged") from None
    if not isinstance(record, dict):
        raise StoreError(f"{path}: its record is {record!r}, expected an object; the file is damaged")
    return record
