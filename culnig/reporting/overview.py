"""Figures that commands draw in addition to tables: the overview of the demo, and similar neuron sets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from culnig.core.neurons import Layout
from culnig.core.plot_style import format_of, save
from culnig.core.text import counted
from culnig.evaluation.conditions import UNMASKED
from culnig.evaluation.verdicts import beyond_random
from culnig.models.embedded import model_name
from culnig.selection.neuron_set import NeuronSet
from culnig.selection.similarity import linkage
from culnig.store.files import whole_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_INTERVAL = "95 % interval of the change, over questions"
_COLORS = {"unmasked": "#20242c", "set": "#b5462b", "random": "#8a8f98"}


def overview_figure(
    path: Path, neurons: NeuronSet, layout: Layout, rows: Sequence[dict[str, Any]], benchmark: str
) -> None:
    """Write a PNG with two panels: where the neurons are, and the effect of masking them or random ones."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 7.2), layout="constrained")
    layers, masking = figure.subplots(2, 1, height_ratios=(1, 1.15))
    of_benchmark = [row for row in rows if row["benchmark"] == benchmark]
    n_chosen = f"{len(neurons.neurons):,} {neurons.name} neurons of {layout.n_neurons:,}"
    figure.suptitle(
        f"{model_name(neurons.model)}: {n_chosen}\n"
        f"{_in_words(next(row for row in of_benchmark if row['condition'] == neurons.name))}"
    )
    _layers_panel(layers, neurons, layout)
    _masking_panel(masking, neurons.name, of_benchmark, benchmark)
    _write(figure, path)


def _in_words(masked: dict[str, Any]) -> str:
    """Whether the picture shows an effect."""
    test = (masked["against_random"] or {}).get("p_gold")
    if test is None:
        return "Not compared with random neurons"
    if beyond_random(test):
        return "Masking them lowers P(gold) more than masking random neurons does"
    return (
        "No effect found: masking them does not clearly lower P(gold) more than masking random neurons does"
    )


def _layers_panel(axes: Axes, neurons: NeuronSet, layout: Layout) -> None:
    modules, table = neurons.table(layout)
    counts = table.astype(int)
    image = axes.imshow(counts, aspect="auto", cmap="viridis", interpolation="nearest")
    for row, column in zip(*np.nonzero(counts), strict=True):
        color = "black" if counts[row, column] > 0.6 * counts.max() else "white"
        text = axes.text(column, row, str(counts[row, column]), color=color)
        text.set(ha="center", va="center", fontsize=8)
    axes.set_yticks(range(len(modules)), modules)
    axes.set_xticks(range(0, layout.n_layers, max(1, layout.n_layers // 15)))
    axes.set_xlabel("layer")
    axes.set_title("Neurons per layer and module", loc="left", fontsize=10)
    axes.figure.colorbar(image, ax=axes, label="neurons", pad=0.01)


def _masking_panel(axes: Axes, name: str, rows: Sequence[dict[str, Any]], benchmark: str) -> None:
    from matplotlib.patheffects import withStroke
    from matplotlib.ticker import PercentFormatter

    metrics = {
        "accuracy": "accuracy\n(whole vocabulary)",
        "option_accuracy": "option accuracy\n(among the labels)",
        "p_gold": "P(gold)",
        "option_mass": "option mass",
    }
    unmasked = next(row for row in rows if row["condition"] == UNMASKED)
    masked = next(row for row in rows if row["condition"] == name)
    metrics = {metric: text for metric, text in metrics.items() if unmasked[metric] is not None}
    random = [row for row in rows if row["like"] == name]
    labels = ("unmasked", f"{name} masked", f"random masked (mean of {len(random)})")
    for x, metric in enumerate(metrics):
        drawn = [(unmasked[metric], "unmasked"), (masked[metric], "set")]
        values = [row[metric] for row in random]
        if values:
            drawn.append((np.mean(values), "random"))
            axes.plot([x + 0.22] * len(values), values, ".", color="black", markersize=4)
        for shift, (height, kind), label in zip((-0.22, 0.0, 0.22), drawn, labels, strict=False):
            axes.bar(x + shift, height, width=0.2, color=_COLORS[kind], label=None if x else label)
        low, high = (masked["change"].get(metric) or {}).get("interval", (None, None))
        if low is not None and high is not None:
            ends = [unmasked[metric] + low, unmasked[metric] + high]
            axes.plot([x, x], ends, color="black", linewidth=1.4, label=None if x else _INTERVAL)
        if (
            metric == "option_accuracy" and rows[0]["chance"] is not None
        ):  # among the labels, chance is 1 / labels
            outline = [withStroke(linewidth=4, foreground="white")]  # so that it is seen on a bar
            ends = [x - 0.4, x + 0.4]
            axes.plot(ends, [rows[0]["chance"]] * 2, ":", color="black", label="chance", path_effects=outline)
    axes.set_xticks(range(len(metrics)), list(metrics.values()))
    axes.set_ylim(0, 1)
    n_items, n_questions = rows[0]["n"], rows[0]["n_questions"]
    axes.set_title(
        f"{benchmark}: {n_items:,} test items, {counted(n_questions, 'question')}", loc="left", fontsize=10
    )
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.figure.legend(frameon=False, fontsize=9, loc="outside lower center", ncols=5)
    axes.spines[["top", "right"]].set_visible(False)


def similarity_figure(path: Path, names: Sequence[str], matrix: NDArray[np.float64], measure: str) -> None:
    """Write the dendrogram (average linkage of 1 − similarity) and the matrix in its order."""
    from matplotlib.figure import Figure
    from scipy.cluster import hierarchy

    side = 3.0 + 0.4 * len(names)
    figure = Figure(figsize=(side + 3.0, side), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1, 2.2))
    dendrogram = hierarchy.dendrogram(
        linkage(matrix),
        labels=list(names),
        orientation="left",
        ax=left,
        color_threshold=0,
        above_threshold_color="#20242c",
    )
    left.set_xlabel(f"1 − {measure}")
    left.spines[["top", "right", "left"]].set_visible(False)
    order = dendrogram["leaves"][::-1]
    ordered = matrix[np.ix_(order, order)]
    # aspect "auto" keeps the rows next to their leaves
    image = right.imshow(ordered, cmap="viridis", vmin=0, vmax=1, aspect="auto")
    for row, column in np.ndindex(*ordered.shape):
        value = ordered[row, column]
        text = right.text(column, row, f"{value:.2f}", color="black" if value > 0.6 else "white")
        text.set(ha="center", va="center", fontsize=7)
    right.set_xticks(range(len(names)), [names[number] for number in order], rotation=90)
    right.set_yticks([])
    figure.colorbar(image, ax=right, label=measure)
    _write(figure, path)


def _write(figure: Figure, path: Path) -> None:
    form = format_of(path)
    with whole_file(path) as temporary:
        save(figure, temporary, form)
