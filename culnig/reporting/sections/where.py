"""Where the selected neurons are, by layer and module, and by layer and expert."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from culnig.core.neurons import Layout
from culnig.core.quantities import percent
from culnig.reporting.heat_maps import heat_map, layer_map
from culnig.reporting.sections.panels import Panel, Section, slug
from culnig.reporting.sources import Sources
from culnig.reporting.tables import Table
from culnig.selection.neuron_set import NeuronSet


def where_section(sources: Sources) -> Section:
    """Neurons by layer and module: all culture-specific sets together, then each set, and its experts."""
    panels = []
    specific = culture_specific(sources.neuron_sets)
    if len(specific) > 1:
        panels.append(_cultures_panel(specific, sources.layout_of(specific[0])))
    for neurons in sources.neuron_sets:
        layout = sources.layout_of(neurons)
        panels.append(_set_panel(neurons, layout))
        if layout is not None and layout.n_experts:
            panels.append(_experts_panel(neurons, layout))
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
    note = f"{len(neurons.neurons):,} neurons.{''.join(map(_survivors, tests_of(neurons)))}"
    if counts:
        module, layer = max(counts, key=counts.__getitem__)
        note += (
            f" {counts[module, layer]:,} of the {len(neurons.neurons):,} are in {module} of layer {layer}, "
            "the most in one module of one layer."
        )
    title = f"{neurons.name}: neurons by layer and module"
    return Panel(
        neurons.name,
        layer_map(table, modules, title=title, description=note, form="{:.0f}".format, numbers=True),
        note,
        Table(
            slug("layers", neurons.name),
            f"Neurons of {neurons.name} by layer and module",
            ("layer", *modules),
            [(layer, *map(int, column)) for layer, column in enumerate(table.T)],
        ),
    )


def tests_of(neurons: NeuronSet) -> list[dict[str, Any]]:
    """The tests of significance that a set was given."""
    return list(neurons.method.get("significance", ()))


def _survivors(test: Mapping[str, Any]) -> str:
    return (
        f" {test['selected_significant']:,} of {test['selected']:,} survive a false discovery rate of "
        f"{test['fdr']:g}."
    )


MOST_ROWS = 500
"""Rows of the longest table of experts."""


def by_expert(neurons: NeuronSet, layout: Layout) -> NDArray[np.float64]:
    """Neurons of a set by expert and layer, all modules of experts together; NaN where there is no expert."""
    routed = [segment for segment in layout.segments if segment.experts > 1]
    counts = np.full((max(segment.experts for segment in routed), layout.n_layers), np.nan)
    for segment in routed:
        counts[: segment.experts, segment.layer] = 0
    for neuron in neurons.neurons:
        segment = layout.segment(neuron.module, neuron.layer)
        if segment.experts > 1:
            counts[neuron.index // (segment.width // segment.experts), neuron.layer] += 1
    return counts


def _experts_panel(neurons: NeuronSet, layout: Layout) -> Panel:
    counts = by_expert(neurons, layout)
    share = counts / max(1, len(neurons.neurons))
    n_experts, n_layers = counts.shape
    routed, held = int(np.nansum(counts)), int(np.nansum(counts > 0))
    title = f"{neurons.name}: share of its neurons by layer and expert"
    note = (
        f"{routed:,} of {len(neurons.neurons):,} neurons are in routed experts, in {held:,} of the model's "
        f"{layout.n_experts:,}."
    )
    if routed:
        expert, layer = np.unravel_index(np.nanargmax(counts), counts.shape)
        note += f" Expert {expert} of layer {layer} has the most, {int(counts[expert, layer]):,}."
    few = n_experts <= 32
    chart = heat_map(
        share,
        [f"expert {expert}" for expert in range(n_experts)],
        [str(layer) for layer in range(n_layers)],
        title=title,
        description=note,
        form=percent,
        cell=(26, 16) if few else (14, 5),
        column_step=max(1, n_layers // 24),
        row_step=1 if few else 8,
        names=[f"layer {layer}" for layer in range(n_layers)],
        axis="layer →",
    )
    order = np.argsort(-np.nan_to_num(counts.T, nan=-1.0), axis=None, kind="stable")[: min(held, MOST_ROWS)]
    cells = [divmod(number, n_experts) for number in order.tolist()]
    table = Table(
        slug("experts", neurons.name),
        f"Experts with most neurons of {neurons.name}",
        ("layer", "expert", "neurons", "share of the set"),
        [(layer, expert, int(counts[expert, layer]), float(share[expert, layer])) for layer, expert in cells],
        ("", "", "", "%"),
    )
    return Panel(f"{neurons.name}, experts", chart, note, table)


def _cultures_panel(sets: Sequence[NeuronSet], layout: Layout | None) -> Panel:
    names, table = by_culture(sets, layout)
    title, note = (
        "Culture-specific neurons by culture and layer",
        f"{len(sets)} cultures, all modules together.",
    )
    return Panel(
        "all cultures",
        layer_map(table, names, title=title, description=note, form="{:.0f}".format, numbers=True),
        note,
        Table(
            "layers-by-culture",
            title,
            ("layer", *names),
            [(layer, *map(int, column)) for layer, column in enumerate(table.T)],
        ),
    )
