"""How specific masks are: which cultures they harm, and what else they harm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from culnig.core.quantities import points
from culnig.core.text import METRIC_NAMES
from culnig.evaluation.dose import dose_questions
from culnig.evaluation.matrix import matrix_questions
from culnig.evaluation.stored import Evaluation
from culnig.reporting.charts import Line, lines
from culnig.reporting.heat_maps import heat_map
from culnig.reporting.sections.panels import Panel, Section, slug
from culnig.reporting.sources import rows_of
from culnig.reporting.tables import Table, number_text


def matrix_section(evaluations: Sequence[Evaluation]) -> Section:
    """Change of each culture when the neurons of each culture are masked."""
    return Section(
        "matrix",
        "Selectivity",
        "If the neurons are specific, the diagonal is the most orange cell of each row.",
        [
            _matrix_panel(matrix, evaluation.folder.name, several=len(evaluations) > 1)
            for evaluation in evaluations
            for matrix in evaluation.results.get("matrix", ())
        ],
        "culnig-engine evaluate --model MODEL --benchmark BENCHMARK --neurons A.json --neurons B.json "
        "--matrix -o EVAL",
    )


def _matrix_panel(matrix: Mapping[str, Any], folder: str, *, several: bool) -> Panel:
    name = METRIC_NAMES.get(matrix["metric"], matrix["metric"])
    masked, evaluated = matrix["masked"], matrix["evaluated"]
    more = "more" if matrix["dominance"] > 0 else "no more"
    note = (
        f"On average, masks harm their own culture {more} than others ({_in_points(matrix['dominance'])}, "
        f"p {number_text(matrix['dominance_p'], 'p')} when masks are assigned to cultures at random). "
    )
    if matrix["related"] is not None:
        note += (
            f"Related cultures against unrelated ones: {_in_points(matrix['related'])}, p "
            f"{number_text(matrix['related_p'], 'p')}. "
        )
    note = f"Rows: culture whose neurons are masked. Columns: culture that is evaluated. {note}"
    return Panel(
        name,
        heat_map(
            np.array(matrix["change"], dtype=float),
            masked,
            evaluated,
            title=f"Selectivity: change of {name}",
            description=note,
            form=points,
            diverging=True,
            numbers=True,
            cell=(54, 28),
        ),
        note,
        Table(
            slug("selectivity", folder, matrix["metric"]),
            f"Change of {name}, in points, when the neurons of a culture (row) are masked and a culture "
            f"(column) is evaluated; own rank 1 is perfect{matrix_questions(matrix)}",
            ("masked", *evaluated, "own rank", "own p (Holm)"),
            [
                (culture, *row, rank, p)
                for culture, row, rank, p in zip(
                    masked, matrix["change"], matrix["own_rank"], matrix["own_p"], strict=True
                )
            ],
            ("", *["+%"] * len(evaluated), "3", "p"),
        ),
        group=folder if several else "",
    )


def dose_section(evaluations: Sequence[Evaluation]) -> Section:
    """Effect on cultural benchmarks and damage to others, by factor and share."""
    panels = []
    for evaluation in evaluations:
        doses = evaluation.results.get("dose") or []
        for metric in dict.fromkeys(dose["metric"] for dose in doses):
            of_metric = [dose for dose in doses if dose["metric"] == metric]
            panels.append(_dose_panel(of_metric, evaluation, several=len(evaluations) > 1))
    return Section(
        "dose",
        "Dose and response",
        "Effects of weaker and stronger interventions on cultural questions, and the damage elsewhere.",
        panels,
        "culnig-engine evaluate --model MODEL --benchmark BENCHMARK --benchmark qnli --neurons FILE --dose "
        "-o EVAL",
    )


def _dose_panel(doses: Sequence[Mapping[str, Any]], evaluation: Evaluation, *, several: bool) -> Panel:
    """Doses of one metric."""
    folder = evaluation.folder.name
    metric = doses[0]["metric"]
    name = METRIC_NAMES.get(metric, metric)
    by_share = len({dose["factor"] for dose in doses}) == 1
    drawn = dose_lines(doses, rows_of(evaluation), by_share)
    title = f"Dose and response: {name}{dose_questions(doses)}"
    chart = None
    if drawn:
        chart = lines(
            drawn,
            title=title,
            description="Effect on cultural benchmarks and damage to the others.",
            x_axis="share of the set" if by_share else "factor (1 is the unmasked model)",
            y_axis=f"{name}, points",
            percent=True,
            form=_in_points,
        )
    return Panel(
        name,
        chart,
        "Effect: change of the cultural benchmarks in the intended direction. Damage: loss on the others. "
        "Bars are 95 % intervals over questions, where one benchmark gives them. At factor 1, or at no "
        "neurons, the model is unmasked and nothing changes. “Best” marks a dose that no other dose beats in "
        "both.",
        Table(
            slug("dose", folder, metric),
            title,
            ("set", "factor", "share", "neurons", "effect", "damage", "effect − damage", "best"),
            [
                (
                    *(dose["of_set"], dose["factor"], dose["share"], dose["n_neurons"]),
                    *(dose["effect"], dose["damage"], dose["specificity"], "yes" if dose["best"] else ""),
                )
                for dose in doses
            ],
            ("", "g", "%", ",", "+%", "+%", "+%"),
        ),
        group=folder if several else "",
    )


def dose_lines(
    doses: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]], by_share: bool
) -> list[Line]:
    """Effect and damage of each set, over shares or, separately for each share, over factors.

    Every line goes through the unmasked model: factor 1, or a share of 0, where nothing changes.
    """
    drawn = []
    for name in dict.fromkeys(dose["of_set"] for dose in doses):
        of_set = [dose for dose in doses if dose["of_set"] == name]
        shares = {dose["share"] for dose in of_set}
        for share in [None] if by_share else sorted(shares):
            label = f"{name}, {100 * share:g} %" if share is not None and len(shares) > 1 else name
            own = [dose for dose in of_set if share in (None, dose["share"])]
            for kind in ("effect", "damage"):
                points_of = {
                    dose["share" if by_share else "factor"]: (dose[kind], _dose_interval(dose, rows, kind))
                    for dose in own
                    if dose[kind] is not None
                }
                if points_of:
                    points_of.setdefault(0.0 if by_share else 1.0, (0.0, None))
                    at = sorted(points_of)
                    values, ends = zip(*(points_of[x] for x in at), strict=True)
                    drawn.append(Line(f"{label}: {kind}", at, values, ends))
    return drawn


def _dose_interval(
    dose: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], kind: str
) -> tuple[float, float] | None:
    """The interval of a dose's effect or damage, if it is that of a single benchmark; else None."""
    sign = 1 if kind == "effect" and dose["factor"] > 1 else -1
    own = [
        row["change"][dose["metric"]]
        for row in rows
        if row["condition"] == dose["condition"] and dose["metric"] in (row["change"] or {})
    ]
    matching = [change for change in own if np.isclose(sign * change["effect"], dose[kind], atol=1e-12)]
    if len(matching) != 1 or None in matching[0]["interval"]:
        return None
    low, high = sorted(sign * end for end in matching[0]["interval"])
    return low, high


def _in_points(value: float) -> str:
    return number_text(value, "+%") + " points"
