"""HDF5 groups for the three things a run holds: layout, culture moments, outcomes.

Each has a writer and a reader; a reader checks presence, shape and kind of every dataset and names the one
that is wrong, so that a damaged or foreign file is never half understood.
"""

from __future__ import annotations

from typing import Any

import h5py
import hdf5plugin
import numpy as np
from numpy.typing import NDArray

from culnig.errors import StoreError
from culnig.neurons import Layout, Segment
from culnig.outcomes import Outcomes
from culnig.scores import CultureMoments
from culnig.store import schema

_CHUNK_NEURONS = 1 << 16
_TEXT_COLUMNS = ("id", "question_id", "culture", "topic", "split", "gold", "predicted")


def write_layout(root: h5py.Group, layout: Layout) -> None:
    """Write `/layout`, one row per segment."""
    group = root.create_group(schema.LAYOUT)
    group[schema.MODULE] = np.array([s.module for s in layout.segments], dtype=h5py.string_dtype())
    for name in (schema.LAYER, schema.START, schema.WIDTH):
        group[name] = np.array([getattr(s, name) for s in layout.segments], dtype=np.int64)


def read_layout(root: h5py.Group) -> Layout:
    """Read `/layout`; StoreError where the segments are not consecutive."""
    group = group_at(root, schema.LAYOUT)
    modules = _texts(group, schema.MODULE)
    columns = [
        _numbers(group, name, (len(modules),), "i") for name in (schema.LAYER, schema.START, schema.WIDTH)
    ]
    segments = [
        Segment(module, int(layer), int(start), int(width))
        for module, layer, start, width in zip(modules, *columns, strict=True)
    ]
    ends = np.cumsum([segment.width for segment in segments])
    if [segment.start for segment in segments] != [0, *ends[:-1].tolist()][: len(segments)]:
        raise StoreError(f"{group.file.filename}: {group.name}/{schema.START}: segments are not consecutive")
    return Layout(tuple(segments))


def write_moments(group: h5py.Group, moments: CultureMoments) -> None:
    """Write the tables of one benchmark into its group."""
    group[schema.CULTURES] = np.array(moments.cultures, dtype=h5py.string_dtype())
    group[schema.N_ITEMS] = moments.n_items
    group[schema.CONFIDENCE_SUM] = moments.confidence_sum
    for name in (schema.SUM, schema.SUM_OF_SQUARES, schema.POSITIVE_COUNT):
        _write_table(group, name, getattr(moments, name))


def read_moments(group: h5py.Group, n_neurons: int) -> CultureMoments:
    """Read the tables of one benchmark."""
    cultures, n_items = read_cultures(group)
    one, table = (len(cultures),), (len(cultures), n_neurons)
    return CultureMoments(
        cultures,
        n_items,
        _numbers(group, schema.CONFIDENCE_SUM, one, "f"),
        _numbers(group, schema.SUM, table, "f"),
        _numbers(group, schema.SUM_OF_SQUARES, table, "f"),
        _numbers(group, schema.POSITIVE_COUNT, table, "u"),
    )


def write_outcomes(root: h5py.Group, outcomes: Outcomes) -> None:
    """Write the group `items`, one row per item."""
    group = root.create_group(schema.ITEMS)
    for name in _TEXT_COLUMNS:
        group[name] = _storable(getattr(outcomes, name))
    labels = [schema.OPTION_SEPARATOR.join(options) for options in outcomes.options]
    group["options"] = np.array(labels, dtype=h5py.string_dtype())
    group["correct"] = outcomes.correct
    group["confidence"] = outcomes.confidence
    group["option_mass"] = outcomes.option_mass
    group["option_probabilities"] = outcomes.option_probabilities
    group["alignment"] = outcomes.alignment


def read_outcomes(root: h5py.Group) -> Outcomes:
    """Read the group `items`."""
    group = group_at(root, schema.ITEMS)
    texts = {name: _texts(group, name) for name in (*_TEXT_COLUMNS, "options")}
    n = len(texts["id"])
    for name, values in texts.items():
        if len(values) != n:
            raise StoreError(f"{group.file.filename}: {group.name}/{name} has {len(values)} rows, id has {n}")
    options = [
        tuple(labels.split(schema.OPTION_SEPARATOR)) if labels else () for labels in texts.pop("options")
    ]
    widest = max(map(len, options), default=0)
    return Outcomes(
        **{name: np.array(values, dtype=object) for name, values in texts.items()},
        options=options,
        correct=_numbers(group, "correct", (n,), "b"),
        confidence=_numbers(group, "confidence", (n,), "f"),
        option_probabilities=_numbers(group, "option_probabilities", (n, widest), "f"),
        alignment=_numbers(group, "alignment", (n,), "f"),
    )


def _write_table(group: h5py.Group, name: str, table: NDArray[Any]) -> None:
    """Write a [culture, neuron] table, compressed, in chunks of one row (or an equal part of it)."""
    cultures, neurons = table.shape
    if cultures == 0 or neurons == 0:
        group[name] = table
        return
    parts = -(-neurons // _CHUNK_NEURONS)
    group.create_dataset(
        name,
        data=table,
        chunks=(1, -(-neurons // parts)),
        **hdf5plugin.Blosc2(cname="zstd", clevel=1, filters=hdf5plugin.Blosc2.SHUFFLE),
    )


def _storable(texts: NDArray[np.object_]) -> NDArray[Any]:
    """Text as HDF5 takes it: a null character, which it cannot hold, becomes its visible symbol."""
    visible = [str(text).replace("\0", "\N{SYMBOL FOR NULL}") for text in texts]
    return np.array(visible, dtype=h5py.string_dtype())


def _where(group: h5py.Group, name: str) -> str:
    return f"{group.file.filename}: {group.name.rstrip('/')}/{name}"


def group_at(root: h5py.Group, name: str) -> h5py.Group:
    """The group of that name; StoreError where it is missing."""
    return _member(root, name, h5py.Group)


def _member(group: h5py.Group, name: str, kind: type) -> Any:
    link = group.get(name, getlink=True)
    if isinstance(link, h5py.ExternalLink):
        raise StoreError(f"{_where(group, name)} points out of the file, to {link.filename}; not followed")
    if not isinstance(group.get(name), kind):
        raise StoreError(f"{_where(group, name)} is missing; the file is damaged or not a run of culnig")
    return group[name]


def read_cultures(group: h5py.Group) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Cultures of a benchmark and how many items each has."""
    cultures = tuple(_texts(group, schema.CULTURES))
    return cultures, _numbers(group, schema.N_ITEMS, (len(cultures),), "i")


def _texts(group: h5py.Group, name: str) -> list[str]:
    dataset = _member(group, name, h5py.Dataset)
    if h5py.check_string_dtype(dataset.dtype) is None or dataset.ndim != 1:
        raise StoreError(f"{_where(group, name)} holds {dataset.dtype}, expected a column of text")
    try:
        return [str(value) for value in dataset.asstr()[:]]
    except (OSError, UnicodeDecodeError) as error:
        raise StoreError(f"{_where(group, name)} cannot be read: {error}") from None


def _numbers(group: h5py.Group, name: str, shape: tuple[int, ...], kind: str) -> NDArray[Any]:
    dataset = _member(group, name, h5py.Dataset)
    if dataset.shape != shape or dataset.dtype.kind != kind:
        raise StoreError(
            f"{_where(group, name)} has shape {dataset.shape} and type {dataset.dtype}, expected shape "
            f"{shape} of kind {kind!r}"
        )
    try:
        values: NDArray[Any] = dataset[()]
    except OSError as error:
        raise StoreError(f"{_where(group, name)} cannot be read: {error}") from None
    return values
