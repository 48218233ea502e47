"""The file of an instance-level analysis: every neuron on every item, so that any table can be redone.

FILE.h5     attributes format, format_version, record (JSON: model, neuron set, benchmark, versions)
    /items/{id, question_id, culture, topic}    one row per item
    /neurons/{module, layer, index}             one row per neuron
    /raw, /control [item, neuron]               control only where there is one
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from culnig.errors import OutputExistsError
from culnig.instances.scores import InstanceScores
from culnig.neurons import Layout
from culnig.store.files import make_folder, whole_hdf5

INSTANCES_FORMAT = "culnig-instances"
INSTANCES_FORMAT_VERSION = 1


def check_free(path: Path, *, overwrite: bool) -> None:
    """OutputExistsError where the file may not be written."""
    if path.is_dir():
        raise OutputExistsError(f"{path} is a folder; give a file with -o")
    if os.path.lexists(path) and not overwrite:
        raise OutputExistsError(f"{path} exists; add --overwrite to replace it, or give another file")


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
        places = file.create_group("neurons")
        places["module"] = np.array([neuron.module for neuron in neurons], dtype=h5py.string_dtype())
        for name in ("layer", "index"):
            places[name] = np.array([getattr(neuron, name) for neuron in neurons], dtype=np.int64)
        file["raw"] = scores.raw
        if scores.control is not None:
            file["control"] = scores.control
