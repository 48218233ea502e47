"""Where the selected neurons are, by layer and module."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from culnig.core.neurons import Layout
from culnig.reporting.charts import layer_map
from culnig.reporting.sections.panels import Panel, Section, slug
from culnig.reporting.sources import Sources
from culnig.reporting.tables import Table
from culnig.selection.neuron_set import NeuronSet


def where_section(sources: Sources) -> Section:
    """Neurons by layer and module: all culture-specific sets together, then each set."""
    panels = []
    specific = culture_specific(sources.neuron_sets)
    if len(specific) > 1:
        panels.append(_cultures_panel(specific, sources.layout_of(specific[0])))
    panels += [_set_panel(neurons, sources.layout_of(neurons)) for neurons in sources.neuron_sets]
    return Section(
        "where",
        "Where the neurons are",
        "Selected neurons by layer (the first layer is 0) and module. The stronger the colour of a cell, "
        "the more neurons it holds.",
        panels,
        "culnig-engine select general RUN -o general.neurons.json",
    )


def culture_specific(sets: Sequence[NeuronSet]) -> list[NeuronSet]:
    """The sets that were selected for a single culture."""
    return [neurons for neurons in sets if neurons.method.get("culture")]


def by_culture(sets: Sequence[NeuronSet], layout: Layout | None) -> tuple[list[str], NDArray[np.float64]]:
    """Cultures of the sets, and their neurons over all modules, shape (culture, layer)."""
    tables = [neurons.table(layout)[1].sum(axis=0) for neurons in sets]
    counts = np.zeros((len(sets), max(len(table) for table in tables)))
    for row, table in zip(counts, tables, strict=True):
        row[: len(table)] = table
    return [str(neurons.method["culture"]) for neurons in sets], counts


def _set_panel(neurons: NeuronSet, layout: Layout | None) -> Panel:
    counts = neurons.count_by_module_and_layer()
    modules, table = neurons.table(layout)
    note = f"{len(neurons.neurons):,} neurons."
    if counts:
        module, layer = max(counts, key=counts.__getitem__)
        note += f" Most of them ({counts[module, layer]}) are in {module} of layer {layer}."
    title = f"{neurons.name}: neurons by layer and module"
    return Panel(
        neurons.name,
        layer_map(table, modules, title=title, description=note, form="{:.0f}", numbers=True),
        note,
        Table(
            slug("layers", neurons.name),
            f"Neurons of {neurons.name} by layer and module",
            ("layer", *modules),
            [(layer, *map(int, column)) for layer, column in enumerate(table.T)],
        ),
    )


def _cultures_panel(sets: Sequence[NeuronSet], layout: Layout | None) -> Panel:
    names, table = by_culture(sets, layout)
    title, note = (
        "Culture-specific neurons by culture and layer",
        f"{len(sets)} cultures, all modules together.",
    )
    return Panel(
        "all cultures",
        layer_map(table, names, title=title, description=note, form="{:.0f}", numbers=True),
        note,
        Table(
            "layers-by-culture",
            title,
            ("culture", *(str(layer) for layer in range(table.shape[1]))),
            [(name, *map(int, row)) for name, row in zip(names, table, strict=True)],
        ),
    )
