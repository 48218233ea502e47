"""Figures for papers: every picture of the report, drawn with matplotlib."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from culnig.core import plots
from culnig.core.plot_style import columns_that_fit, titled
from culnig.core.text import METRIC_NAMES, counted, span
from culnig.errors import InputError
from culnig.evaluation.dose import dose_questions
from culnig.evaluation.matrix import matrix_questions
from culnig.models.embedded import model_name
from culnig.reporting.charts import Line
from culnig.reporting.profiles import TOP_NEURONS, profiles_of, short_names
from culnig.reporting.sections.cultures import cultures_section, ordered_scores, similarity_section
from culnig.reporting.sections.depth import depth_section
from culnig.reporting.sections.instances import BY, instances_section, positive_shares
from culnig.reporting.sections.leaderboard import leaderboard_section
from culnig.reporting.sections.masking import masking_section
from culnig.reporting.sections.panels import Section, own_name, slug
from culnig.reporting.sections.specificity import dose_lines, dose_section, matrix_section
from culnig.reporting.sections.training import training_section
from culnig.reporting.sections.where import by_culture, culture_specific, where_section
from culnig.reporting.sources import Sources, changes_of, masked_rows, rows_of
from culnig.validation.leaderboard import leaderboard_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Figures = dict[str, "Figure"]
"""Figures by file name, without suffix."""


def make_figures(sources: Sources, names: Sequence[str] = ()) -> Figures:
    """The named figures, by default all that the inputs have data for.

    InputError if a named figure, or every figure, lacks data; it names the command that would produce them.
    """
    figures: Figures = {}
    sources = sources.distinct
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
            "the inputs have no data for any figure; give runs, neuron sets, evaluations, instances or arms"
        )
    return figures


def _layers(sources: Sources) -> Figures:
    specific = culture_specific(sources.neuron_sets)
    panels = [
        (f"{neurons.name}, n = {len(neurons.neurons):,}", *neurons.table(sources.layout_of(neurons)))
        for neurons in sources.neuron_sets
        if neurons not in specific or len(specific) == 1
    ]
    if len(specific) > 1:
        names, rows = by_culture(specific, sources.layout_of(specific[0]))
        panels.append((f"culture-specific neurons, all modules, n = {int(rows.sum()):,}", names, rows))
    title = "Neurons by layer and module"
    return {"layers": _with_title(plots.layers_figure(panels), sources, title)} if panels else {}


def _depth(sources: Sources) -> Figures:
    figures: Figures = {}
    for run, of_target in profiles_of(sources):
        total = of_target.layers.sum(axis=0) / (of_target.layers.sum() or 1.0)
        layers = list(range(total.shape[1]))
        drawn = [
            Line(module, layers, row.tolist()) for module, row in zip(of_target.modules, total, strict=True)
        ]
        name = _name(figures, "depth", of_target.target)
        figure = plots.lines_figure([("", "layer", "share of positive score, %", drawn)])
        figures[name] = titled(figure, f"{model_name(run.model)}: scores over depth, {of_target.basis}")
    return figures


def _culture_by_neuron(sources: Sources) -> Figures:
    figures: Figures = {}
    for run, of_target in profiles_of(sources):
        if len(of_target.cultures) > 1 and len(of_target.best):
            best = of_target.best[: columns_that_fit(TOP_NEURONS)]
            names, cultures, scores = ordered_scores(replace(of_target, best=best), short_names(run, best))
            name = _name(figures, "culture-by-neuron", of_target.target)
            figure = plots.scores_figure("", cultures, names, scores)
            figures[name] = titled(
                figure, f"{model_name(run.model)}: scores of the {len(names)} best neurons, {of_target.basis}"
            )
    return figures


def _similarity(sources: Sources) -> Figures:
    figures: Figures = {}
    for panel in similarity_section([p for _, p in profiles_of(sources)], sources.neuron_sets).panels:
        if panel.table is not None:
            names = [str(row[0]) for row in panel.table.rows]
            cells = [[np.nan if cell is None else cell for cell in row[1:]] for row in panel.table.rows]
            name = _name(figures, panel.table.name)
            figure = plots.similarity_matrix_figure("", names, np.array(cells, dtype=float))
            figures[name] = _with_title(figure, sources, f"Similarity, {panel.title}")
    return figures


def _matrix(sources: Sources) -> Figures:
    figures: Figures = {}
    for evaluation in sources.evaluations:
        for matrix in evaluation.results.get("matrix", ()):
            metric, change = matrix["metric"], np.array(matrix["change"], dtype=float)
            title = f"change of {METRIC_NAMES.get(metric, metric)}, points{matrix_questions(matrix)}"
            own = _if_several(evaluation.folder.name, sources.evaluations)
            name = _name(figures, "matrix", *own, metric)
            figure = plots.matrix_figure("", matrix["masked"], matrix["evaluated"], change)
            figures[name] = titled(figure, f"{_model_of(evaluation.results)}: {title}")
    return figures


def _masking(sources: Sources) -> Figures:
    figures: Figures = {}
    for evaluation in sources.evaluations:
        rows = rows_of(evaluation)
        for metric in METRIC_NAMES:
            if any(metric in row["change"] for row in masked_rows(rows)):
                own = _if_several(evaluation.folder.name, sources.evaluations)
                name = _name(figures, "masking", *own, metric)
                title = f"{_model_of(evaluation.results)}: {METRIC_NAMES[metric]} with neurons masked"
                figures[name] = titled(plots.masking_figure(rows, metric), title)
    return figures


def _dose(sources: Sources) -> Figures:
    figures: Figures = {}
    for evaluation in sources.evaluations:
        doses = evaluation.results.get("dose") or []
        for metric in dict.fromkeys(dose["metric"] for dose in doses):
            of_metric = [dose for dose in doses if dose["metric"] == metric]
            by_share = len({dose["factor"] for dose in of_metric}) == 1
            drawn = dose_lines(of_metric, rows_of(evaluation), by_share)
            if drawn:
                name = METRIC_NAMES.get(metric, metric)
                own = _if_several(evaluation.folder.name, sources.evaluations)
                x_axis = "share of the set" if by_share else "factor (1: unmasked)"
                figure = plots.lines_figure([("", x_axis, f"{name}, points", drawn)])
                title = f"{_model_of(evaluation.results)}: dose and response{dose_questions(of_metric)}"
                figures[_name(figures, "dose", *own, metric)] = titled(figure, title)
    return figures


def _instances(sources: Sources) -> Figures:
    figures: Figures = {}
    for number, stored in enumerate(sources.instances, start=1):
        name = str(stored.record.get("neuron_set", {}).get("name", "neurons"))
        panels = [(f"by {by}", *positive_shares(stored, by)) for by in BY]
        file_name = _name(figures, "instances", *_if_several(str(number), sources.instances))
        title = f"{_model_of(stored.record)}: {name} on {len(stored.culture):,} problems"
        figures[file_name] = titled(plots.shares_figure(panels), title)
    return figures


def _training(sources: Sources) -> Figures:
    figures: Figures = {}
    for number, document in enumerate(sources.arms, start=1):
        for metric in dict.fromkeys(row["metric"] for row in document["changes"]):
            name = _name(figures, "training", *_if_several(str(number), sources.arms), metric)
            rows = changes_of(document, metric)
            questions = [row["change"]["n_questions"] for row in rows if "n_questions" in row["change"]]
            n = f", {span(min(questions), max(questions))} questions" if questions else ""
            title = f"{_model_of(document)}: trained on {document.get('task', '?')}{n}"
            figures[name] = titled(plots.training_figure(rows, metric), title)
    return figures


def _leaderboard(sources: Sources) -> Figures:
    figures: Figures = {}
    rows = leaderboard_of(sources.validations)["rows"] if sources.validations else []
    for world in dict.fromkeys(row["world"] for row in rows):
        own = [row for row in rows if row["world"] == world]
        title = f"World {world}, {counted(len(own[0]['seeds']), 'seed')}"
        figures[_name(figures, "leaderboard", world)] = titled(plots.leaderboard_figure(own), title)
    return figures


def _model_of(record: Mapping[str, Any]) -> str:
    return model_name(str(record.get("model", {}).get("source", "a model")))


def _with_title(figure: Figure, sources: Sources, title: str) -> Figure:
    return titled(figure, f"{' and '.join(sources.model_names) or 'a model'}: {title}")


def _name(taken: Figures, *words: str) -> str:
    return own_name(slug(*words), taken)


def _if_several(name: str, inputs: Sequence[object]) -> list[str]:
    """The name of an input, as part of a file name, if there are several inputs of its kind."""
    return [name] if len(inputs) > 1 else []


FIGURES: dict[str, tuple[Callable[[Sources], Figures], Callable[[Sources], Section]]] = {
    "layers": (_layers, where_section),
    "depth": (_depth, lambda sources: depth_section([])),
    "culture-by-neuron": (_culture_by_neuron, lambda sources: cultures_section([], {})),
    "similarity": (_similarity, lambda sources: similarity_section([], [])),
    "matrix": (_matrix, lambda sources: matrix_section(sources.evaluations)),
    "masking": (_masking, lambda sources: masking_section(sources.evaluations)),
    "dose": (_dose, lambda sources: dose_section(sources.evaluations)),
    "training": (_training, lambda sources: training_section(sources.arms)),
    "instances": (_instances, lambda sources: instances_section(sources.instances)),
    "leaderboard": (_leaderboard, lambda sources: leaderboard_section(sources.validations)),
}
"""Each figure with the section of the report that shows the same data."""
