"""Static pictures of a result."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from culnig.core.neurons import FORWARD_ORDER, Layout
from culnig.evaluation.conditions import UNMASKED
from culnig.selection.neuron_set import NeuronSet
from culnig.store.files import whole_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SHADES = "viridis"
_SET, _RANDOM, _UNMASKED = "#b5462b", "#8a8f98", "#20242c"


def overview_figure(
    path: Path, chosen: NeuronSet, layout: Layout, rows: Sequence[dict[str, Any]], benchmark: str
) -> None:
    """Two panels: where the neurons lie, and what masking them did beside random masks. Written as PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 7.2), layout="constrained")
    where, masked = figure.subplots(2, 1, height_ratios=(1, 1.15))
    figure.suptitle(
        f"{chosen.name} neurons of {chosen.model}: {len(chosen.neurons):,} of {layout.n_neurons:,}"
    )
    _layers_panel(where, chosen, layout)
    _masking_panel(masked, chosen.name, [row for row in rows if row["benchmark"] == benchmark], benchmark)
    with whole_file(path) as temporary:
        figure.savefig(temporary, dpi=140, format="png", metadata={"Software": None})


def _layers_panel(axes: Axes, chosen: NeuronSet, layout: Layout) -> None:
    modules = [module for module in FORWARD_ORDER if module in layout.modules]
    counts = np.zeros((len(modules), layout.n_layers), dtype=int)
    for (module, layer), n in chosen.count_by_module_and_layer().items():
        counts[modules.index(module), layer] = n
    image = axes.imshow(counts, aspect="auto", cmap=_SHADES, interpolation="nearest")
    for row, column in zip(*np.nonzero(counts), strict=True):
        light = counts[row, column] > 0.6 * counts.max()
        axes.text(
            column,
            row,
            str(counts[row, column]),
            ha="center",
            va="center",
            fontsize=8,
            color="black" if light else "white",
        )
    axes.set_yticks(range(len(modules)), modules)
    axes.set_xticks(range(0, layout.n_layers, max(1, layout.n_layers // 15)))
    axes.set_xlabel("layer")
    axes.set_title("Neurons per layer and module", loc="left", fontsize=10)
    axes.figure.colorbar(image, ax=axes, label="neurons", pad=0.01)


def _masking_panel(axes: Axes, name: str, rows: Sequence[dict[str, Any]], benchmark: str) -> None:
    metrics = ("accuracy", "option_accuracy", "p_gold", "option_mass")
    labels = (
        "accuracy\n(whole vocabulary)",
        "option accuracy\n(among the labels)",
        "P(gold)",
        "option mass",
    )
    for place, metric in enumerate(metrics):
        random = [row[metric] for row in rows if row["like"] == name]
        for condition, color, shift, text in (
            (UNMASKED, _UNMASKED, -0.22, "unmasked"),
            (name, _SET, 0.0, f"{name} masked"),
        ):
            row = next(row for row in rows if row["condition"] == condition)
            label = text if place == 0 else None
            axes.bar(place + shift, row[metric], width=0.2, color=color, label=label)
        if random:
            axes.bar(
                place + 0.22,
                np.mean(random),
                width=0.2,
                color=_RANDOM,
                label=f"random masked (mean of {len(random)})" if place == 0 else None,
            )
            axes.plot([place + 0.22] * len(random), random, ".", color="black", markersize=4)
    n = rows[0]["n"]
    axes.axhline(rows[0]["chance"], color="black", linewidth=0.8, linestyle=":", label="chance")
    axes.set_xticks(range(len(metrics)), labels)
    axes.set_ylim(0, 1)
    axes.set_title(f"{benchmark}, test items (n = {n})", loc="left", fontsize=10)
    axes.legend(frameon=False, fontsize=9, loc="upper left")
    axes.spines[["top", "right"]].set_visible(False)
