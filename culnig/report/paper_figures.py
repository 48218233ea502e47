"""The figures of a paper by name, from the inputs of a report."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from culnig.core import plots
from culnig.errors import InputError
from culnig.report.evaluation_sections import METRICS, masking_section
from culnig.report.instances_section import instances_section, positive_shares
from culnig.report.score_sections import by_culture, where_section
from culnig.report.sections import Section, slug
from culnig.report.sources import Sources, changes_of, rows_of
from culnig.report.specificity_sections import matrix_section
from culnig.report.training_section import training_section

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Figures = dict[str, "Figure"]
"""Figures by file name, without ending."""


def make_figures(sources: Sources, names: tuple[str, ...] = ()) -> Figures:
    """The named figures, or all that the inputs have data for.

    InputError where a named one, or every one, has no data; it says which command would make them.
    """
    found: Figures = {}
    for name in names or FIGURES:
        draw, section = FIGURES[name]
        made = draw(sources)
        if not made and names:
            raise InputError(
                f"no data for figure {name!r} among the inputs; this would make some: "
                f"{section(sources).missing}"
            )
        found |= made
    if not found:
        raise InputError(
            "no figure can be drawn from these inputs; give neuron sets, evaluations or instances"
        )
    return found


def _layers(sources: Sources) -> Figures:
    specific = [those for those in sources.neuron_sets if those.method.get("culture")]
    panels = [
        (those.name, *those.table(sources.layout_of(those)))
        for those in sources.neuron_sets
        if those not in specific or len(specific) == 1
    ]
    if len(specific) > 1:
        names, rows = by_culture(specific, sources.layout_of(specific[0]))
        panels.append(("culture-specific neurons, all modules", names, rows))
    return {"layers": plots.layers_figure(panels)} if panels else {}


def _matrix(sources: Sources) -> Figures:
    return {
        slug(
            "matrix", *([evaluation.folder.name] if len(sources.evaluations) > 1 else []), matrix["metric"]
        ): (
            plots.matrix_figure(
                f"change of {METRICS.get(matrix['metric'], matrix['metric'])}, points",
                matrix["masked"],
                matrix["evaluated"],
                np.array(matrix["change"], dtype=float),
            )
        )
        for evaluation in sources.evaluations
        for matrix in evaluation.results.get("matrix", ())
    }


def _masking(sources: Sources) -> Figures:
    return {
        slug("masking", *([evaluation.folder.name] if len(sources.evaluations) > 1 else []), metric): (
            plots.masking_figure(rows_of(evaluation), metric, METRICS[metric])
        )
        for evaluation in sources.evaluations
        for metric in METRICS
        if any(row["change"] and metric in row["change"] for row in rows_of(evaluation))
    }


def _instances(sources: Sources) -> Figures:
    found = {}
    for number, stored in enumerate(sources.instances):
        name = str(stored.record.get("neuron_set", {}).get("name", "neurons"))
        panels = [(f"{name}, by {by}", *positive_shares(stored, by)) for by in ("topic", "culture")]
        several = [str(number + 1)] if len(sources.instances) > 1 else []
        found[slug("instances", *several)] = plots.shares_figure(panels)
    return found


def _training(sources: Sources) -> Figures:
    found = {}
    for number, document in enumerate(sources.arms):
        for metric in dict.fromkeys(row["metric"] for row in document["changes"]):
            several = [str(number + 1)] if len(sources.arms) > 1 else []
            found[slug("training", *several, metric)] = plots.training_figure(
                changes_of(document, metric), METRICS.get(metric, metric)
            )
    return found


FIGURES: dict[str, tuple[Callable[[Sources], Figures], Callable[[Sources], Section]]] = {
    "layers": (_layers, where_section),
    "matrix": (_matrix, lambda sources: matrix_section(sources.evaluations)),
    "masking": (_masking, lambda sources: masking_section(sources.evaluations)),
    "training": (_training, lambda sources: training_section(sources.arms)),
    "instances": (_instances, lambda sources: instances_section(sources.instances)),
}
"""How each figure is drawn, and the part of the report that shows the same."""
