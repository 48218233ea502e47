"""How specific masks are: whose culture they hurt, and what they break elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from culnig.evaluation.stored import Evaluation
from culnig.report.drawing import Line, heat_map, lines
from culnig.report.evaluation_sections import METRICS
from culnig.report.sections import Panel, Section, slug
from culnig.report.tables import Table, number_text


def matrix_section(evaluations: Sequence[Evaluation]) -> Section:
    """Mask one culture's neurons, evaluate every culture."""
    panels = []
    for evaluation in evaluations:
        several = f"{evaluation.folder.name}: " if len(evaluations) > 1 else ""
        for matrix in evaluation.results.get("matrix", ()):
            name = METRICS.get(matrix["metric"], matrix["metric"])
            change = np.array(matrix["change"], dtype=float)
            word = "more" if matrix["dominance"] > 0 else "not more"
            note = (
                f"Masks hurt their own culture {word} than others on average "
                f"({_in_points(matrix['dominance'])}, p {number_text(matrix['dominance_p'], 'p')} "
                "among random dealings of masks to cultures). "
            )
            if matrix["related"] is not None:
                note += (
                    f"Related cultures against the others: {_in_points(matrix['related'])}, p "
                    f"{number_text(matrix['related_p'], 'p')}. "
                )
            panels.append(
                Panel(
                    f"{several}{name}",
                    heat_map(
                        change,
                        matrix["masked"],
                        matrix["evaluated"],
                        title=f"Selectivity: change of {name}",
                        description=(
                            f"Rows: culture whose neurons are masked. Columns: evaluated culture. {note}"
                        ),
                        form="{:+.1%}".format,
                        diverging=True,
                        numbers=True,
                        cell=(54, 28),
                    ),
                    f"Rows: whose neurons are masked. Columns: whose questions are asked. {note}",
                    Table(
                        slug("selectivity", evaluation.folder.name, matrix["metric"]),
                        f"Change of {name} when the neurons of a culture (row) are masked and a culture "
                        "(column) "
                        "is evaluated; own rank 1 is perfect",
                        ("masked", *matrix["evaluated"], "own rank", "own p (Holm)"),
                        [
                            (culture, *row, rank, p)
                            for culture, row, rank, p in zip(
                                matrix["masked"],
                                matrix["change"],
                                matrix["own_rank"],
                                matrix["own_p"],
                                strict=True,
                            )
                        ],
                        ("", *["+.1%"] * len(matrix["evaluated"]), ".1f", "p"),
                    ),
                )
            )
    return Section(
        "matrix",
        "Selectivity",
        "If neurons are specific, the diagonal is the most orange cell of its row.",
        panels,
        "culnig-engine evaluate --model MODEL --benchmark BENCHMARK --neurons A.json --neurons B.json "
        "--matrix "
        "-o EVAL",
    )


def dose_section(evaluations: Sequence[Evaluation]) -> Section:
    """Effect on cultural benchmarks and damage elsewhere, by factor and share."""
    panels = []
    for evaluation in evaluations:
        doses = evaluation.results.get("dose") or []
        for metric in dict.fromkeys(dose["metric"] for dose in doses):
            own = [dose for dose in doses if dose["metric"] == metric]
            drawn = _dose_lines(own)
            by_share = len({dose["factor"] for dose in own}) == 1
            name = METRICS.get(metric, metric)
            panels.append(
                Panel(
                    f"{evaluation.folder.name}: {name}" if len(evaluations) > 1 else name,
                    lines(
                        drawn,
                        title=f"Dose and response: {name}",
                        description="Effect on cultural benchmarks and damage to the others.",
                        x_axis="share of the set" if by_share else "factor (1 is the unmasked model)",
                        y_axis=f"{name}, points",
                        percent=True,
                    )
                    if drawn
                    else None,
                    "Effect: change of the cultural benchmarks in the direction asked for. Damage: fall of "
                    "the "
                    "others. No other dose beats one that is best in both.",
                    Table(
                        slug("dose", evaluation.folder.name, metric),
                        f"Dose and response: {name}",
                        ("set", "factor", "share", "neurons", "effect", "damage", "effect − damage", "best"),
                        [
                            (
                                *(dose["of_set"], dose["factor"], dose["share"], dose["n_neurons"]),
                                *(dose["effect"], dose["damage"], dose["specificity"]),
                                "yes" if dose["best"] else "",
                            )
                            for dose in own
                        ],
                        ("", "g", ".0%", ",", "+.2%", "+.2%", "+.2%"),
                    ),
                )
            )
    return Section(
        "dose",
        "Dose and response",
        "What a weaker or stronger change of the neurons does to cultural questions, and what else it "
        "breaks.",
        panels,
        "culnig-engine evaluate --model MODEL --benchmark BENCHMARK --benchmark qnli --neurons FILE --dose "
        "-o EVAL",
    )


def _dose_lines(doses: Sequence[Mapping[str, Any]]) -> list[Line]:
    by_share = len({dose["factor"] for dose in doses}) == 1
    found = []
    for name in dict.fromkeys(dose["of_set"] for dose in doses):
        shares = {dose["share"] for dose in doses if dose["of_set"] == name}
        for share in [None] if by_share else sorted(shares):
            own = [
                dose for dose in doses if dose["of_set"] == name and (share is None or dose["share"] == share)
            ]
            more = f", {share:.0%}" if share is not None and len(shares) > 1 else ""
            for kind in ("effect", "damage"):
                points = sorted(
                    (dose["share" if by_share else "factor"], dose[kind])
                    for dose in own
                    if dose[kind] is not None
                )
                if points:
                    found.append(Line(f"{name}{more}: {kind}", *zip(*points, strict=True)))
    series = [line for line in found if len(line.x) > 1]
    return series or found


def _in_points(value: float) -> str:
    return number_text(100 * value, "+.2f") + " points"
