"""The file of an instance-level analysis: every neuron on every item, enough to redo any table.

FILE.h5     attributes format, format_version, record (JSON: model, neuron set, benchmark, versions)
    /items/{id, question_id, culture, topic}    one row per item
    /neurons/{module, layer, index}             one row per neuron
    /raw, /control [item, neuron]               control only where there is one
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
from numpy.typing import NDArray

from culnig.core.neurons import Layout, Neuron
from culnig.errors import StoreError
from culnig.store import tables
from culnig.store.files import make_folder
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
        file.attrs["format"], file.attrs["format_version"] = INSTANCES_FORMAT, INSTANCES_FORMAT_VERSION
        file.attrs["record"] = json.dumps(record, ensure_ascii=False)
        items = file.create_group("items")
        for name in ("id", "question_id", "culture", "topic"):
            items[name] = np.array([getattr(item, name) for item in scores.items], h5py.string_dtype())
        columns = file.create_group("neurons")
        columns["module"] = np.array([neuron.module for neuron in neurons], dtype=h5py.string_dtype())
        for name in ("layer", "index"):
            columns[name] = np.array([getattr(neuron, name) for neuron in neurons], dtype=np.int64)
        file["raw"] = scores.raw
        if scores.control is not None:
            file["control"] = scores.control


@dataclass(frozen=True)
class StoredInstances:
    """What the file holds."""

    record: dict[str, Any]
    """Model, neuron set, benchmark and versions."""
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
        kind, version = file.attrs.get("format"), file.attrs.get("format_version")
        if not isinstance(kind, str) or kind != INSTANCES_FORMAT:
            raise StoreError(f"{path}: format is {kind!r}, expected {INSTANCES_FORMAT!r}")
        if np.ndim(version) or version != INSTANCES_FORMAT_VERSION:
            raise StoreError(
                f"{path}: format version {version}, this culnig reads {INSTANCES_FORMAT_VERSION}"
            )
        try:
            record = json.loads(file.attrs["record"])
            items, chosen = tables.group_at(file, "items"), tables.group_at(file, "neurons")
            culture, topic = (
                np.array(tables.read_texts(items, name), dtype=object) for name in ("culture", "topic")
            )
            columns = [chosen[name][...].tolist() for name in ("layer", "index")]
            modules = tables.read_texts(chosen, "module")
            neurons = tuple(Neuron(*row) for row in zip(modules, *columns, strict=True))
            raw = file["raw"][...]
            control = file["control"][...] if "control" in file else None
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise StoreError(f"{path}: {error}; the file is damaged") from None
        for values in (raw,) if control is None else (raw, control):
            if values.shape != (len(culture), len(neurons)) or len(topic) != len(culture):
                raise StoreError(
                    f"{path}: scores of shape {values.shape} for {len(culture)} items and {len(neurons)} "
                    "neurons; the file is damaged"
                )
    return StoredInstances(record, culture, topic, neurons, raw, control)
