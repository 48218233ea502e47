"""Score tables in files: written a few cells at a time, and added up over runs or over parts of one."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import h5py
import numpy as np
from numpy.typing import NDArray

from culnig.core.moments import CultureMoments
from culnig.core.outcomes import Outcomes
from culnig.store import schema, tables
from culnig.store.compression import Compression, built_in, write_column

_CELLS = 1 << 20
"""Cells of a table that are added at once."""


class TablesWriter:
    """Fills the tables of one benchmark and scorer, and records the sum over cultures with them."""

    def __init__(
        self, group: h5py.Group, cultures: Sequence[str], n_neurons: int, compression: Compression
    ) -> None:
        self._group = group
        self._compression = compression
        self._total = np.zeros(n_neurons)
        types, shape = CultureMoments.zeros((), 0), (len(cultures), n_neurons)
        self._tables = {}
        for name in schema.TABLES:
            dtype = getattr(types, name).dtype
            self._tables[name] = tables.create_table(group, name, shape, dtype, built_in(compression, dtype))

    def write(self, name: str, rows: slice, columns: slice, values: NDArray[np.number]) -> None:
        """Write cells (culture, neuron) of a table. Cultures of a neuron come in their order."""
        self._tables[name][rows, columns] = values
        if name == schema.SUM:
            for row in values:
                self._total[columns] += row

    def close(self) -> None:
        """Write the sum over cultures."""
        tables.write_total(self._group, self._total, self._compression)


def add_benchmark(
    target: h5py.Group,
    sources: Sequence[h5py.Group],
    n_neurons: int,
    compression: Compression,
    indices: Sequence[NDArray[np.int64]] | None = None,
) -> None:
    """Write a benchmark as the sum of groups that hold different items of it, in their order.

    `indices` are those of each source's items in the whole item table; None: the sources hold them. Cultures
    of the sources may differ. Sources of the first half of the questions are added up by themselves too.
    """
    first_half = [number for number, source in enumerate(sources) if source.attrs.get(schema.HALF) == 1]
    _add_tables(target, sources, n_neurons, compression, first_half)
    for scorer in tables.scorer_names(sources[0]):
        inner = [tables.group_at(tables.group_at(source, schema.SCORERS), scorer) for source in sources]
        group = target.create_group(f"{schema.SCORERS}/{scorer}")
        _add_tables(group, inner, n_neurons, compression, first_half)
    answers = [tables.read_outcomes(source) for source in sources]
    if indices is None:
        indices = [
            tables.read_item_indices(source, len(own.id))
            for source, own in zip(sources, answers, strict=True)
        ]
    tables.write_outcomes(target, Outcomes.joined(list(zip(indices, answers, strict=True))))


def _add_tables(
    target: h5py.Group,
    sources: Sequence[h5py.Group],
    n_neurons: int,
    compression: Compression,
    first_half: Sequence[int],
) -> None:
    read = [tables.read_cultures(source) for source in sources]
    cultures = tuple(dict.fromkeys(itertools.chain.from_iterable(names for names, _ in read)))
    row_of = {culture: row for row, culture in enumerate(cultures)}
    rows = [[row_of[culture] for culture in names] for names, _ in read]
    n_items, p_gold = np.zeros(len(cultures), np.int64), np.zeros(len(cultures))
    half_items = np.zeros(len(cultures), np.int64)
    for number, (source, own, (_, counts)) in enumerate(zip(sources, rows, read, strict=True)):
        n_items[own] += counts
        p_gold[own] += tables.read_p_gold_sum(source)
        if number in first_half:
            half_items[own] += counts
    tables.write_counts(target, cultures, n_items, p_gold)
    writer = TablesWriter(target, cultures, n_neurons, compression)
    half_sums = None
    if first_half:
        half = target.create_group(schema.FIRST_HALF)
        write_column(half, schema.N_ITEMS, half_items)
        shape = (len(cultures), n_neurons)
        half_sums = tables.create_table(
            half, schema.SUM, shape, np.float64, built_in(compression, np.float64)
        )
    for name in schema.TABLES:
        inputs = [
            (tables.table_at(source, name, (len(own), n_neurons)), own)
            for source, own in zip(sources, rows, strict=True)
        ]
        for row, start in itertools.product(range(len(cultures)), range(0, n_neurons, _CELLS)):
            columns = slice(start, min(start + _CELLS, n_neurons))
            writer.write(name, slice(row, row + 1), columns, _added(inputs, row, columns)[None])
            if half_sums is not None and name == schema.SUM:
                half_sums[row, columns] = _added([inputs[n] for n in first_half], row, columns)
    writer.close()


def _added(
    inputs: Sequence[tuple[h5py.Dataset, Sequence[int]]], row: int, columns: slice
) -> NDArray[np.number]:
    """Cells of one culture summed over the tables that have it, in their order: equal inputs, equal bits."""
    cells = (tables.read_cells(table, own.index(row), columns) for table, own in inputs if row in own)
    total: NDArray[np.number] = next(cells)
    for more in cells:
        total += more
    return total
