"""What masking did: effects with intervals, the selectivity matrix, doses, single problems."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from culnig.evaluation.compare import StoredEvaluation
from culnig.evaluation.conditions import UNMASKED
from culnig.instances.file import StoredInstances
from culnig.report.drawing import Line, Mark, MarkRow, bars, heat_map, intervals, lines
from culnig.report.sections import Panel, Section, slug
from culnig.report.sources import rows_of
from culnig.report.tables import Cell, Table, number_text

METRICS = {
    "accuracy": "accuracy",
    "option_accuracy": "option accuracy",
    "confidence": "P(gold)",
    "option_mass": "option mass",
    "alignment": "alignment",
}
"""Metrics that are drawn, with their names."""

_LEGEND = (
    ("effect", "change against the unmasked model, 95 % interval"),
    ("against", "against the random baselines, 95 % interval"),
    ("random", "one random baseline against the unmasked model"),
)


def masking_section(evaluations: Sequence[StoredEvaluation]) -> Section:
    """Change of each metric under each mask, beside random masks."""
    panels = []
    for evaluation in evaluations:
        rows = rows_of(evaluation)
        several = f"{evaluation.folder.name}: " if len(evaluations) > 1 else ""
        shown = [
            metric
            for metric in METRICS
            if any(metric in row["change"] for row in _masked(rows) if row["change"])
        ]
        for metric in shown:
            panels.append(_metric_panel(rows, metric, f"{several}{METRICS[metric]}", evaluation.folder.name))
        panels.append(_results_panel(rows, f"{several}all figures", evaluation.folder.name))
    return Section(
        "masking",
        "What masking the neurons does",
        "Left of zero: the model got worse with the neurons masked. An effect of the neurons, and not of "
        "masking "
        "as such, is one that random neurons of the same modules and layers do not have. Intervals and "
        "p-values "
        "are over independent questions.",
        panels,
        "culnig-engine evaluate --model MODEL --benchmark BENCHMARK --neurons FILE --random-baseline 10 -o "
        "EVAL",
    )


def _masked(rows: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Rows of sets: neither the unmasked model nor baselines."""
    return (row for row in rows if row["change"] and row["like"] is None)


def _metric_panel(rows: Sequence[dict[str, Any]], metric: str, title: str, name: str) -> Panel:
    drawn, cells = [], []
    percent = metric != "alignment"
    for row in _masked(rows):
        if metric not in row["change"]:
            continue
        marks = [
            Mark(
                "random",
                other["change"][metric]["effect"],
                None,
                f"{other['condition']}: {_points(other['change'][metric]['effect'], percent)}",
            )
            for other in rows
            if other["like"] == row["condition"] and other["benchmark"] == row["benchmark"]
        ]
        for kind, said in (("change", "unmasked"), ("against_random", "random")):
            found = (row[kind] or {}).get(metric)
            if found is None:
                continue
            low, high = found["interval"]
            marks.append(
                Mark(
                    "effect" if kind == "change" else "against",
                    found["effect"],
                    None if low is None or high is None else (low, high),
                    f"against {said}: {_points(found['effect'], percent)} "
                    f"({_points(low, percent)} to {_points(high, percent)}), "
                    f"p {number_text(found['p_value'], 'p')}",
                )
            )
            cells.append(
                (
                    *(row["benchmark"], row["condition"], said, found["n"], found["n_units"]),
                    *(found["effect"], low, high, found["p_value"]),
                    row["p_holm"] if kind == "change" and metric == "accuracy" else None,
                )
            )
        drawn.append(MarkRow(row["condition"], marks, f"{row['benchmark']} (n = {row['n']:,})"))
    form = "+.2%" if percent else "+.2f"
    return Panel(
        title,
        intervals(
            drawn,
            title=f"Change of {METRICS[metric]} when neurons are masked",
            description=f"{len(drawn)} masks with 95 % intervals, random baselines beside them.",
            axis=f"change of {METRICS[metric]}" + (" (percentage points)" if percent else ""),
            percent=percent,
        ),
        "",
        Table(
            slug("masking", name, metric),
            f"Change of {METRICS[metric]} when neurons are masked; 95 % intervals over questions; p "
            "two-sided "
            "against the unmasked model, one-sided (lower) against random neurons",
            (
                "benchmark",
                "neurons",
                "against",
                "items",
                "questions",
                "change",
                "low",
                "high",
                "p",
                "p (Holm)",
            ),
            cells,
            ("", "", "", ",", ",", form, form, form, "p", "p"),
        ),
        legend=[one for one in _LEGEND if any(mark.kind == one[0] for row in drawn for mark in row.marks)],
    )


def _points(value: float | None, percent: bool) -> str:
    return number_text(value, "+.2%" if percent else "+.2f")


def _in_points(value: float) -> str:
    return number_text(100 * value, "+.2f") + " points"


def _results_panel(rows: Sequence[dict[str, Any]], title: str, name: str) -> Panel:
    """Metrics themselves, and where lost accuracy went."""

    def lost(row: Mapping[str, Any], part: str) -> float | None:
        return None if not row["loss"] else float(row["loss"][part]["effect"])

    return Panel(
        title,
        None,
        "A loss of accuracy is split: format is lost where the labels lose their probability together, "
        "knowledge "
        "where another label wins.",
        Table(
            slug("results", name),
            "Metrics of every condition, and lost accuracy split into answer format and knowledge",
            (
                *("benchmark", "condition", "factor", "neurons", "items", "accuracy", "option accuracy"),
                *("P(gold)", "option mass", "chance", "lost", "of it format", "of it knowledge"),
            ),
            [
                (
                    *(row["benchmark"], "unmasked" if row["condition"] == UNMASKED else row["condition"]),
                    *(row["factor"], row["n_neurons"], row["n"], row["accuracy"], row["option_accuracy"]),
                    *(row["confidence"], row["option_mass"], row["chance"]),
                    *(lost(row, part) for part in ("accuracy", "format", "knowledge")),
                )
                for row in rows
            ],
            ("", "", "g", ",", ",", ".1%", ".1%", ".4f", ".4f", ".1%", "+.1%", "+.1%", "+.1%"),
        ),
        open_table=True,
    )


def matrix_section(evaluations: Sequence[StoredEvaluation]) -> Section:
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


def dose_section(evaluations: Sequence[StoredEvaluation]) -> Section:
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


def positive_shares(stored: StoredInstances, by: str) -> tuple[list[str], list[float]]:
    """Topics or cultures, and the share of each one's problems on which the summed score is positive."""
    keys, sums = getattr(stored, by), stored.difference.sum(axis=1)
    groups = list(dict.fromkeys(keys.tolist()))
    return groups, [float((sums[keys == group] > 0).mean()) for group in groups]


def instances_section(instances: Sequence[StoredInstances]) -> Section:
    """Share of single problems that the neurons serve, by topic and culture."""
    panels = []
    for stored in instances:
        record = stored.record.get("neuron_set", {})
        name = str(record.get("name", "neurons"))
        benchmark = next(iter(stored.record.get("benchmarks", {})), "")
        sums, positive = stored.difference.sum(axis=1), (stored.difference > 0).mean(axis=1)
        what = "raw scores" if stored.control is None else "scores less their control"
        for by in ("topic", "culture"):
            keys = getattr(stored, by)
            groups, shares = positive_shares(stored, by)
            cells: list[tuple[Cell, ...]] = [
                (
                    group or "–",
                    int((keys == group).sum()),
                    float(sums[keys == group].mean()),
                    share,
                    float(positive[keys == group].mean()),
                )
                for group, share in zip(groups, shares, strict=True)
            ]
            panels.append(
                Panel(
                    f"{name} on {benchmark}, by {by}" if len(instances) > 1 else f"by {by}",
                    bars(
                        [group or "–" for group in groups],
                        shares,
                        [f"{cell[0]}: {cell[3]:.1%} of {cell[1]:,} problems" for cell in cells],
                        title=f"Share of problems with a positive score, by {by}",
                        description=f"{name} on {benchmark}, {what}.",
                    ),
                    f"Share of the problems on which the summed score of the {len(stored.neurons):,} "
                    "neurons of "
                    f"{name} is positive ({benchmark}, {what}).",
                    Table(
                        slug("instances", name, by),
                        f"Instance level: {name} on {benchmark}, {what}",
                        (by, "problems", "mean sum", "sum positive", "neurons positive"),
                        cells,
                        ("", ",", "+.2e", ".1%", ".1%"),
                    ),
                )
            )
    return Section(
        "instances",
        "Single problems",
        "Whether the neurons serve most problems or few, and of which topics and cultures.",
        panels,
        "culnig-engine instances --model MODEL --benchmark BENCHMARK --neurons FILE -o instances.h5",
    )
