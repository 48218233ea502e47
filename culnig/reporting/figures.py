"""Static figures drawn with matplotlib: figures for papers, the demo's overview, similar neuron sets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from culnig.core import plots
from culnig.core.neurons import Layout
from culnig.core.text import METRIC_NAMES
from culnig.errors import InputError
from culnig.evaluation.conditions import UNMASKED
from culnig.reporting.sections.instances import BY, instances_section, positive_shares
from culnig.reporting.sections.masking import masking_section
from culnig.reporting.sections.panels import Section, own_name, slug
from culnig.reporting.sections.specificity import matrix_section
from culnig.reporting.sections.training import training_section
from culnig.reporting.sections.where import by_culture, culture_specific, where_section
from culnig.reporting.sources import Sources, changes_of, masked_rows, rows_of
from culnig.selection.neuron_set import NeuronSet
from culnig.selection.similarity import linkage
from culnig.store.files import whole_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Figures = dict[str, "Figure"]
"""Figures by file name, without suffix."""

_COLORS = {"unmasked": "#20242c", "set": "#b5462b", "random": "#8a8f98"}


def make_figures(sources: Sources, names: Sequence[str] = ()) -> Figures:
    """The named figures, by default all that the inputs have data for.

    InputError if a named figure, or every figure, lacks data; it names the command that would produce them.
    """
    figures: Figures = {}
    for name in names or FIGURES:
        draw, section = FIGURES[name]
        drawn = draw(sources)
        if not drawn and names:
            raise InputError(
                f"the inputs have no data for figure {name!r}; this command produces some: "
                f"{section(sources).missing}"
            )
        figures |= drawn
    if not figures:
        raise InputError(
            "the inputs have no data for any figure; give neuron sets, evaluations, instances or arms"
        )
    return figures


def _layers(sources: Sources) -> Figures:
    specific = culture_specific(sources.neuron_sets)
    panels = [
        (neurons.name, *neurons.table(sources.layout_of(neurons)))
        for neurons in sources.neuron_sets
        if neurons not in specific or len(specific) == 1
    ]
    if len(specific) > 1:
        names, rows = by_culture(specific, sources.layout_of(specific[0]))
        panels.append(("culture-specific neurons, all modules", names, rows))
    return {"layers": plots.layers_figure(panels)} if panels else {}


def _matrix(sources: Sources) -> Figures:
    figures: Figures = {}
    for evaluation in sources.evaluations:
        for matrix in evaluation.results.get("matrix", ()):
            metric, change = matrix["metric"], np.array(matrix["change"], dtype=float)
            title = f"change of {METRIC_NAMES.get(metric, metric)}, points"
            own = _if_several(evaluation.folder.name, sources.evaluations)
            name = _name(figures, "matrix", *own, metric)
            figures[name] = plots.matrix_figure(title, matrix["masked"], matrix["evaluated"], change)
    return figures


def _masking(sources: Sources) -> Figures:
    figures: Figures = {}
    for evaluation in sources.evaluations:
        rows = rows_of(evaluation)
        for metric in METRIC_NAMES:
            if any(metric in row["change"] for row in masked_rows(rows)):
                own = _if_several(evaluation.folder.name, sources.evaluations)
                name = _name(figures, "masking", *own, metric)
                figures[name] = plots.masking_figure(rows, metric)
    return figures


def _instances(sources: Sources) -> Figures:
    figures: Figures = {}
    for number, stored in enumerate(sources.instances, start=1):
        name = str(stored.record.get("neuron_set", {}).get("name", "neurons"))
        panels = [(f"{name}, by {by}", *positive_shares(stored, by)) for by in BY]
        file_name = _name(figures, "instances", *_if_several(str(number), sources.instances))
        figures[file_name] = plots.shares_figure(panels)
    return figures


def _training(sources: Sources) -> Figures:
    figures: Figures = {}
    for number, document in enumerate(sources.arms, start=1):
        for metric in dict.fromkeys(row["metric"] for row in document["changes"]):
            name = _name(figures, "training", *_if_several(str(number), sources.arms), metric)
            figures[name] = plots.training_figure(changes_of(document, metric), metric)
    return figures


def _name(taken: Figures, *words: str) -> str:
    return own_name(slug(*words), taken)


def _if_several(name: str, inputs: Sequence[object]) -> list[str]:
    """The name of an input, as part of a file name, if there are several inputs of its kind."""
    return [name] if len(inputs) > 1 else []


FIGURES: dict[str, tuple[Callable[[Sources], Figures], Callable[[Sources], Section]]] = {
    "layers": (_layers, where_section),
    "matrix": (_matrix, lambda sources: matrix_section(sources.evaluations)),
    "masking": (_masking, lambda sources: masking_section(sources.evaluations)),
    "training": (_training, lambda sources: training_section(sources.arms)),
    "instances": (_instances, lambda sources: instances_section(sources.instances)),
}
"""Each figure with the section of the report that shows the same data."""


def overview_figure(
    path: Path, neurons: NeuronSet, layout: Layout, rows: Sequence[dict[str, Any]], benchmark: str
) -> None:
    """Write a PNG with two panels: where the neurons are, and the effect of masking them or random ones."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 7.2), layout="constrained")
    layers, masking = figure.subplots(2, 1, height_ratios=(1, 1.15))
    figure.suptitle(
        f"{neurons.name} neurons of {neurons.model}: {len(neurons.neurons):,} of {layout.n_neurons:,}"
    )
    _layers_panel(layers, neurons, layout)
    of_benchmark = [row for row in rows if row["benchmark"] == benchmark]
    _masking_panel(masking, neurons.name, of_benchmark, benchmark)
    _write_png(figure, path)


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
    axes.axhline(rows[0]["chance"], color="black", linewidth=0.8, linestyle=":", label="chance")
    axes.set_xticks(range(len(metrics)), list(metrics.values()))
    axes.set_ylim(0, 1)
    axes.set_title(f"{benchmark}, test items (n = {rows[0]['n']})", loc="left", fontsize=10)
    axes.legend(frameon=False, fontsize=9, loc="upper left")
    axes.spines[["top", "right"]].set_visible(False)


def similarity_figure(path: Path, names: Sequence[str], matrix: NDArray[np.float64], measure: str) -> None:
    """Write a PNG of the dendrogram (average linkage of 1 − similarity) and the matrix in its order."""
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
    _write_png(figure, path)


def _write_png(figure: Figure, path: Path) -> None:
    with whole_file(path) as temporary:
        figure.savefig(temporary, dpi=140, format="png", metadata={"Software": None})
