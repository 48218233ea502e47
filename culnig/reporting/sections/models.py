"""Several models side by side: their neurons over relative depth, and comparisons of two of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from culnig.core.quantities import percent
from culnig.models.embedded import model_name
from culnig.reporting.charts import Line, lines
from culnig.reporting.depths import BINS, depth_table, modules_of
from culnig.reporting.sections.panels import Panel, Section, slug
from culnig.reporting.sources import Sources
from culnig.reporting.tables import Cell, Table
from culnig.selection.neuron_set import NeuronSet

MOST_LINES = 7
"""Colours that lines have."""


def models_section(sources: Sources) -> Section:
    """Where sets of the same name are in several models, and comparisons of pairs."""
    by_name: dict[str, list[NeuronSet]] = {}
    for neurons in sources.neuron_sets:
        if neurons.neurons and sources.layout_of(neurons) is not None:
            by_name.setdefault(neurons.name, []).append(neurons)
    panels = [
        _depth_panel(name, sets, sources)
        for name, sets in by_name.items()
        if len({own.model for own in sets}) > 1
    ]
    if sources.comparisons:
        panels.append(_pairs_panel(sources.comparisons))
    return Section(
        "models",
        "Several models",
        "Layers of different models are compared by relative depth: 0 is the first, 1 the last.",
        panels,
        "culnig-engine neurons compare A B --run RUN_A --run RUN_B",
    )


def _depth_panel(name: str, sets: Sequence[NeuronSet], sources: Sources) -> Panel:
    layouts = [sources.layout_of(own) for own in sets]
    n_layers = [layout.n_layers for layout in layouts if layout is not None]
    n_bins, modules = min(BINS, *n_layers), modules_of(sets)
    tables = [depth_table(own, n, modules, n_bins) for own, n in zip(sets, n_layers, strict=True)]
    shares = [table.sum(axis=0) / table.sum() for table in tables]
    middles = ((np.arange(n_bins) + 0.5) / n_bins).tolist()
    title = f"{name}: neurons over relative depth"
    cells: list[tuple[Cell, ...]] = [
        (model_name(own.model), module, *map(int, row))
        for own, table in zip(sets, tables, strict=True)
        for module, row in zip(modules, table, strict=True)
    ]
    drawn = list(zip(sets, shares, strict=True))[:MOST_LINES]
    return Panel(
        f"{name}, by model",
        lines(
            [Line(model_name(own.model), middles, share.tolist()) for own, share in drawn],
            title=title,
            description=f"Share of each set's neurons in {n_bins} parts of the depth, {len(drawn)} models.",
            x_axis="relative depth",
            y_axis="share of the neurons, %",
            percent=True,
            form=percent,
        ),
        f"Share of the set's neurons in each of {n_bins} parts of the depth, all modules together."
        + (f" The first {MOST_LINES} of {len(sets)} models are drawn." if len(sets) > MOST_LINES else ""),
        Table(
            slug("models", name),
            f"{title}, by module",
            ("model", "module", *(f"{middle:.2f}" for middle in middles)),
            cells,
        ),
    )


def _pairs_panel(comparisons: Sequence[Mapping[str, Any]]) -> Panel:
    return Panel(
        "pairs of models",
        None,
        "Depth: share of the neurons that would have to move for both sets to be distributed alike over "
        "modules and relative depth. Own and other culture: where a culture's scores lie, after subtracting "
        "what all cultures share, as rank correlation with the same culture and with other cultures of the "
        "second model. Matrices: rank correlation of the effects of each culture's mask on each culture. All "
        "p-values are from permutations.",
        Table(
            "model-pairs",
            "Pairs of models",
            (
                *("first", "second", "depth", "p", "own culture", "other culture", "p", "matrices", "p"),
                *("shared", "by chance"),
            ),
            [_pair(own) for own in comparisons],
            ("", "", ".2f", "p", ".2f", ".2f", "p", ".2f", "p", ",", ".1f"),
        ),
        open_table=True,
    )


def _pair(own: Mapping[str, Any]) -> tuple[Cell, ...]:
    depth, profiles, matrices, same = (
        own.get(name) or {} for name in ("depth", "profiles", "matrices", "same_layout")
    )
    first, second = (f"{chosen['name']} of {model_name(chosen['model'])}" for chosen in own["sets"])
    return (
        *(first, second, depth.get("distance"), depth.get("p_value")),
        *(profiles.get("own"), profiles.get("other"), profiles.get("p_value")),
        *(matrices.get("rho"), matrices.get("p_value"), same.get("shared"), same.get("expected_shared")),
    )
