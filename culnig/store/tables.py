"""HDF5 groups of a run: layout, culture moments, outcomes.

Each has a writer and a reader. A reader checks presence, shape and kind of every dataset and names the wrong
one, so that a damaged or foreign file is never half understood.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import h5py
import numpy as np
from numpy.typing import DTypeLike, NDArray

from culnig.core.moments import CultureMoments
from culnig.core.neurons import MOST_LAYERS, Layout, Segment
from culnig.core.outcomes import Outcomes
from culnig.errors import StoreError
from culnig.store import schema
from culnig.store.compression import Compression, built_in, packed, row_chunks, write_column
from culnig.store.members import check_claim, dataset_at, where
from culnig.store.members import group_at as group_at

_TABLE_KINDS = {schema.SUM: "f", schema.SUM_OF_SQUARES: "f", schema.POSITIVE_COUNT: "u"}
_TEXT_COLUMNS = ("id", "question_id", "culture", "topic", "split", "gold", "predicted")
_RARE_TEXTS = ("also_right", "together")
_SIMILARITY, _LOG_PROBABILITIES = "similarity", "log_probabilities"
"""Columns that are stored only where an item has them; files of earlier versions have none."""


def write_layout(root: h5py.Group, layout: Layout) -> None:
    """Write `/layout`, one row per segment."""
    group = root.create_group(schema.LAYOUT)
    write_texts(group, schema.MODULE, [s.module for s in layout.segments])
    for name in (schema.LAYER, schema.START, schema.WIDTH):
        write_column(group, name, np.array([getattr(s, name) for s in layout.segments], dtype=np.int64))
    experts = np.array([s.experts for s in layout.segments], dtype=np.int64)
    if (experts > 1).any():
        write_column(group, schema.EXPERTS, experts)


def read_layout(root: h5py.Group) -> Layout:
    """Read `/layout`; StoreError if the segments are not consecutive."""
    group = group_at(root, schema.LAYOUT)
    modules = read_texts(group, schema.MODULE)
    columns = [
        _numbers(group, name, (len(modules),), "i") for name in (schema.LAYER, schema.START, schema.WIDTH)
    ]
    has_experts = schema.EXPERTS in group
    shape = (len(modules),)
    columns.append(
        _numbers(group, schema.EXPERTS, shape, "i") if has_experts else np.ones(shape, dtype=np.int64)
    )
    segments = [
        Segment(module, *map(int, numbers)) for module, *numbers in zip(modules, *columns, strict=True)
    ]
    if any(
        not 0 <= each.layer < MOST_LAYERS or each.width < 0 or each.experts < 1 or each.width % each.experts
        for each in segments
    ):
        raise StoreError(
            f"{group.file.filename}: {group.name} names a layer, width or number of experts that no model has"
        )
    check_claim(group, 8 * sum(segment.width for segment in segments))
    ends = np.cumsum([segment.width for segment in segments])
    if [segment.start for segment in segments] != [0, *ends[:-1].tolist()][: len(segments)]:
        raise StoreError(f"{group.file.filename}: {group.name}/{schema.START}: segments are not consecutive")
    return Layout(tuple(segments))


def write_moments(group: h5py.Group, moments: CultureMoments, compression: Compression = "default") -> None:
    """Write the tables of one benchmark into its group."""
    write_counts(group, moments.cultures, moments.n_items, moments.p_gold_sum)
    for name in schema.TABLES:
        table = getattr(moments, name)
        dataset = create_table(group, name, table.shape, table.dtype, packed(compression))
        if table.size:
            dataset[...] = table


def write_counts(
    group: h5py.Group,
    cultures: Sequence[str],
    n_items: NDArray[np.int64],
    p_gold_sum: NDArray[np.float64],
) -> None:
    """Write the numbers of a benchmark per culture, apart from its tables."""
    write_texts(group, schema.CULTURES, cultures)
    write_column(group, schema.N_ITEMS, n_items)
    write_column(group, schema.P_GOLD_SUM, p_gold_sum)


def create_table(
    group: h5py.Group,
    name: str,
    shape: tuple[int, ...],
    dtype: DTypeLike,
    options: Mapping[str, Any],
) -> h5py.Dataset:
    """Make room for a [row, neuron] table, in chunks of one row or an equal part of it.

    `options` are filters: those of `packed`, or in `scores.h5` of `built_in`.
    """
    if 0 in shape:
        return group.create_dataset(name, shape, dtype)
    chunks = row_chunks(shape, np.dtype(dtype).itemsize)
    return group.create_dataset(name, shape, dtype, chunks=chunks, **options)


def read_moments(group: h5py.Group, n_neurons: int) -> CultureMoments:
    """Read the tables of one benchmark."""
    cultures, n_items = read_cultures(group)
    per_culture, table = (len(cultures),), (len(cultures), n_neurons)
    return CultureMoments(
        cultures,
        n_items,
        _numbers(group, schema.P_GOLD_SUM, per_culture, "f"),
        _numbers(group, schema.SUM, table, "f"),
        _numbers(group, schema.SUM_OF_SQUARES, table, "f"),
        _numbers(group, schema.POSITIVE_COUNT, table, "u"),
    )


def write_total(group: h5py.Group, total: NDArray[np.float64], compression: Compression) -> None:
    """Write Σ over the cultures of the sums, (neuron,), as a table of one row."""
    shape, options = (1, len(total)), built_in(compression, np.float64)
    dataset = create_table(group, schema.TOTAL, shape, np.float64, options)
    if total.size:
        dataset[0] = total


def read_total(group: h5py.Group, n_neurons: int) -> NDArray[np.float64] | None:
    """Σ over the cultures of the sums, (neuron,), or None in a file that does not keep it."""
    if schema.TOTAL not in group:
        return None
    total: NDArray[np.float64] = read_cells(table_at(group, schema.TOTAL, (1, n_neurons), "f"), 0)
    return total


def read_first_half(
    group: h5py.Group, n_neurons: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]] | None:
    """Items (culture,) and sums (culture, neuron) of the first half, or None if it is not kept."""
    if schema.FIRST_HALF not in group:
        return None
    n_cultures = len(read_cultures(group)[0])
    half = group_at(group, schema.FIRST_HALF)
    n_items: NDArray[np.int64] = _numbers(half, schema.N_ITEMS, (n_cultures,), "i")
    sums: NDArray[np.float64] = _numbers(half, schema.SUM, (n_cultures, n_neurons), "f")
    return n_items, sums


def read_blocks(
    chosen: Sequence[tuple[h5py.Dataset, Sequence[int]]], n_neurons: int
) -> Iterator[tuple[slice, list[NDArray[np.float64]]]]:
    """Ranges of neurons of several tables, in order: (columns, chosen rows of each table).

    The values (row, neuron of the range) are in buffers that the next range overwrites.
    """
    width = next((dataset.chunks[1] for dataset, _ in chosen if dataset.chunks), max(1, n_neurons))
    buffers = [np.empty((len(rows), width)) for _, rows in chosen]
    for start in range(0, n_neurons, width):
        columns = slice(start, min(start + width, n_neurons))
        held = [buffer[:, : columns.stop - start] for buffer in buffers]
        for (dataset, rows), values in zip(chosen, held, strict=True):
            for row, out in zip(rows, values, strict=True):  # chunk by chunk, as HDF5 reads fastest
                read_into(out, dataset, np.s_[row, columns])
        yield columns, held


def write_outcomes(root: h5py.Group, outcomes: Outcomes) -> None:
    """Write the group `items`, one row per item."""
    group = root.create_group(schema.ITEMS)
    for name in _TEXT_COLUMNS:
        write_texts(group, name, getattr(outcomes, name))
    write_texts(group, "options", [schema.OPTION_SEPARATOR.join(labels) for labels in outcomes.options])
    for name in ("correct", "option_mass", "option_probabilities", "alignment", "n_tokens"):
        write_column(group, name, getattr(outcomes, name))
    write_column(group, schema.P_GOLD, outcomes.p_gold)
    for name in _RARE_TEXTS:
        if any(getattr(outcomes, name)):
            write_texts(group, name, getattr(outcomes, name))
    if not np.isnan(outcomes.similarity).all():
        write_column(group, _SIMILARITY, outcomes.similarity)
    if outcomes.by_likelihood:
        write_column(group, _LOG_PROBABILITIES, outcomes.log_probabilities)
    if outcomes.routed_tokens.shape[1]:
        write_column(group, schema.ROUTED_TOKENS, outcomes.routed_tokens.astype(np.uint32))


def read_outcomes(root: h5py.Group) -> Outcomes:
    """Read the group `items`."""
    group = group_at(root, schema.ITEMS)
    texts = {name: read_texts(group, name) for name in (*_TEXT_COLUMNS, "options")}
    n = len(texts["id"])
    rare = {name: read_texts(group, name) if name in group else [""] * n for name in _RARE_TEXTS}
    for name, values in (*texts.items(), *rare.items()):
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
        p_gold=_numbers(group, schema.P_GOLD, (n,), "f"),
        option_probabilities=_numbers(group, "option_probabilities", (n, widest), "f"),
        log_probabilities=(
            _numbers(group, _LOG_PROBABILITIES, (n, widest), "f")
            if _LOG_PROBABILITIES in group
            else np.empty((n, 0))
        ),
        alignment=_numbers(group, "alignment", (n,), "f"),
        similarity=_numbers(group, _SIMILARITY, (n,), "f") if _SIMILARITY in group else np.full(n, np.nan),
        **{name: np.array(values, dtype=object) for name, values in rare.items()},
        n_tokens=_numbers(group, "n_tokens", (n,), "i") if "n_tokens" in group else np.zeros(n, np.int64),
        routed_tokens=_routed_tokens(group, n),
    )


def _routed_tokens(group: h5py.Group, n: int) -> NDArray[np.int64]:
    if schema.ROUTED_TOKENS not in group:
        return np.zeros((n, 0), dtype=np.int64)
    shape = getattr(group[schema.ROUTED_TOKENS], "shape", ())
    return _numbers(group, schema.ROUTED_TOKENS, (n, *shape[1:2]), "u").astype(np.int64)


def write_texts(group: h5py.Group, name: str, texts: Sequence[str]) -> None:
    """Write a column of text, as bytes of one length: HDF5 puts no checksum on texts of varying length.

    A null character, which HDF5 cannot hold, becomes its visible symbol.
    """
    encoded = [str(text).replace("\0", "\N{SYMBOL FOR NULL}").encode() for text in texts]
    length = max(map(len, encoded), default=0) or 1
    write_column(group, name, np.array(encoded, dtype=h5py.string_dtype(length=length)))


def unreadable(dataset: h5py.Dataset, why: object) -> StoreError:
    """The error for a dataset whose values cannot be read."""
    return StoreError(f"{dataset.file.filename}: {dataset.name} cannot be read, it is damaged: {why}")


def read_into(values: NDArray[Any], dataset: h5py.Dataset, cells: Any) -> None:
    """Read part of a dataset into an array of its shape; StoreError if it is damaged."""
    if not values.size:
        return
    try:
        dataset.read_direct(values, cells)
    except (OSError, RuntimeError) as error:
        raise unreadable(dataset, error) from None


def write_scorers(
    group: h5py.Group, scorers: Mapping[str, CultureMoments], compression: Compression = "default"
) -> None:
    """Write the tables of other scorers, a group each."""
    for name, moments in scorers.items():
        write_moments(group.create_group(f"{schema.SCORERS}/{name}"), moments, compression)


def read_scorers(group: h5py.Group, n_neurons: int) -> dict[str, CultureMoments]:
    """Read the tables of other scorers."""
    return {
        name: read_moments(group_at(group_at(group, schema.SCORERS), name), n_neurons)
        for name in scorer_names(group)
    }


def scorer_names(group: h5py.Group) -> list[str]:
    """Other scorers that a benchmark holds tables of."""
    return list(group_at(group, schema.SCORERS)) if schema.SCORERS in group else []


def read_cultures(group: h5py.Group) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Cultures of a benchmark and how many items each has."""
    cultures = tuple(read_texts(group, schema.CULTURES))
    return cultures, _numbers(group, schema.N_ITEMS, (len(cultures),), "i")


def read_texts(group: h5py.Group, name: str) -> list[str]:
    """A column of text; StoreError if it is missing or damaged."""
    dataset = dataset_at(group, name)
    if h5py.check_string_dtype(dataset.dtype) is None or dataset.ndim != 1:
        raise StoreError(f"{where(group, name)} holds {dataset.dtype}, expected a column of text")
    try:
        return [str(value) for value in dataset.asstr()[:]]
    except (OSError, UnicodeDecodeError) as error:
        raise StoreError(f"{where(group, name)} cannot be read: {error}") from None


def read_p_gold_sum(group: h5py.Group) -> NDArray[np.float64]:
    """Σ P(gold) per culture."""
    return _numbers(group, schema.P_GOLD_SUM, (len(read_cultures(group)[0]),), "f")


def read_item_indices(group: h5py.Group, n_items: int) -> NDArray[np.int64]:
    """Indices of a part's items in the benchmark's item table."""
    return _numbers(group, schema.ITEM_INDEX, (n_items,), "i")


def count_attribute(group: h5py.Group, name: str) -> int:
    """A whole number among the attributes; StoreError if it is missing or something else."""
    value = group.attrs.get(name)
    value = value.item() if isinstance(value, np.generic) else value
    if not isinstance(value, int) or value < 0:
        raise StoreError(f"{group.file.filename}: {group.name}: attribute {name} is {value!r}, not a count")
    return value


def table_at(group: h5py.Group, name: str, shape: tuple[int, ...], kind: str | None = None) -> h5py.Dataset:
    """A dataset of that shape (and kind), unread; StoreError if there is none."""
    dataset = dataset_at(group, name)
    kind = kind or _TABLE_KINDS[name]
    if dataset.shape != shape or dataset.dtype.kind != kind:
        raise StoreError(
            f"{where(group, name)} has shape {dataset.shape} and type {dataset.dtype}, expected shape "
            f"{shape} of kind {kind!r}"
        )
    return dataset


def column_at(group: h5py.Group, name: str, kinds: str) -> h5py.Dataset:
    """A dataset of one of these kinds, of any shape, unread; StoreError if there is none."""
    dataset = dataset_at(group, name)
    if dataset.ndim == 0 or dataset.dtype.kind not in kinds:
        raise StoreError(f"{where(group, name)} has type {dataset.dtype}, expected one of kinds {kinds!r}")
    return dataset


def read_cells(dataset: h5py.Dataset, *cells: Any) -> NDArray[Any]:
    """Part of a dataset; StoreError if it is damaged."""
    try:
        values: NDArray[Any] = dataset[cells]
    except (OSError, RuntimeError) as error:
        raise unreadable(dataset, error) from None
    return values


def _numbers(group: h5py.Group, name: str, shape: tuple[int, ...], kind: str) -> NDArray[Any]:
    return read_cells(table_at(group, name, shape, kind))
