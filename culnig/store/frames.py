"""Score tables for other programs: an xarray Dataset, and a Parquet file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np

from culnig.core.moments import CultureMoments
from culnig.core.neurons import Layout
from culnig.core.notebook import optional_package
from culnig.store import schema


def as_xarray(moments: CultureMoments, layout: Layout, facts: Mapping[str, str]) -> Any:
    """A Dataset with dimensions culture and neuron; neurons carry module, layer and index.

    EnvironmentProblem if xarray is not installed.
    """
    xarray = optional_package("xarray")
    neurons = layout.neurons(np.arange(layout.n_neurons))
    return xarray.Dataset(
        {table: (("culture", "neuron"), getattr(moments, table)) for table in schema.TABLES}
        | {
            "n_items": ("culture", moments.n_items),
            "p_gold_sum": ("culture", moments.p_gold_sum),
        },
        coords={
            "culture": list(moments.cultures),
            "module": ("neuron", [neuron.module for neuron in neurons]),
            "layer": ("neuron", [neuron.layer for neuron in neurons]),
            "index": ("neuron", [neuron.index for neuron in neurons]),
        },
        attrs=dict(facts),
    )


def write_parquet(file: BinaryIO, moments: CultureMoments, layout: Layout, facts: Mapping[str, str]) -> None:
    """Write a row for each culture and neuron, a row group for each culture.

    Columns: culture, n_items, module, layer, index, and the tables of the run. EnvironmentProblem if pyarrow
    is not installed.
    """
    arrow = optional_package("pyarrow")
    parquet = optional_package("pyarrow.parquet")
    names = {module: number for number, module in enumerate(layout.modules)}
    widths = [segment.width for segment in layout.segments]
    modules = np.repeat([names[segment.module] for segment in layout.segments], widths).astype(np.int32)
    layers = np.repeat([segment.layer for segment in layout.segments], widths).astype(np.int32)
    indices = np.concatenate([np.arange(width, dtype=np.int32) for width in widths])
    module = arrow.DictionaryArray.from_arrays(modules, list(names))
    n_neurons, writer = layout.n_neurons, None
    for row in range(len(moments.cultures)):
        same = arrow.DictionaryArray.from_arrays(np.full(n_neurons, row, np.int32), list(moments.cultures))
        table = arrow.table(
            {
                "culture": same,
                "n_items": np.full(n_neurons, moments.n_items[row]),
                "module": module,
                "layer": layers,
                "index": indices,
                **{name: getattr(moments, name)[row] for name in schema.TABLES},
            }
        ).replace_schema_metadata(dict(facts))
        if writer is None:
            writer = parquet.ParquetWriter(file, table.schema)
        writer.write_table(table, row_group_size=n_neurons)
    if writer is not None:
        writer.close()
