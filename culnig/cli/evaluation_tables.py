"""Tables of an evaluation: metrics, changes, where accuracy went, the matrix, doses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from culnig.cli.output import percent, print_line, print_table
from culnig.core.quantities import metric_change, metric_interval, metric_value, number, p_text, points
from culnig.core.text import metric_text
from culnig.evaluation.dose import dose_questions
from culnig.evaluation.matrix import matrix_questions
from culnig.evaluation.verdicts import LEAST_FOR_RANK

METRIC_HEADINGS = {
    "accuracy": "accuracy",
    "option_accuracy": "option acc.",
    "p_gold": "P(gold)",
    "log_probability": "log P",
    "log_probability_per_byte": "log P per byte",
    "option_mass": "option mass",
    "alignment": "alignment",
    "similarity": "similarity",
    "together_accuracy": "together acc.",
    "calibration_error": "calibration err.",
}


def print_rows(rows: Sequence[dict[str, Any]]) -> None:
    """Print the metrics of every condition, and what is significant about the sets."""
    for benchmark in dict.fromkeys(row["benchmark"] for row in rows):
        here = [row for row in rows if row["benchmark"] == benchmark]
        first = here[0]
        shown = [metric for metric in METRIC_HEADINGS if first.get(metric) is not None]
        print_table(
            f"{benchmark}: {first['n']:,} items, {first['n_questions']:,} independent questions, "
            f"chance {percent(first['chance'])}",
            ("condition", "mask", "neurons", *(METRIC_HEADINGS[metric] for metric in shown)),
            [
                (
                    row["condition"],
                    _mask_text(row),
                    row["n_neurons"],
                    *(metric_value(metric, row[metric]) for metric in shown),
                )
                for row in here
            ],
            optional=("calibration err.", "log P", "together acc.", "mask"),
        )
        sets = [row for row in here if row["change"] and row["like"] is None]
        print_changes(sets)
        print_losses(sets)


def _mask_text(row: Mapping[str, Any]) -> str:
    mask = row.get("mask", "scale")
    return f"×{row['factor']:g}" if mask == "scale" else str(mask)


def print_changes(rows: Sequence[dict[str, Any]], title: str = "Change") -> None:
    """Print each row's changes with intervals: against what it is compared with and against random masks."""
    lines = [
        _change_cells(row, against, metric, change)
        for row in rows
        for against, changes in (
            (row.get("against", "unmasked"), row["change"]),
            ("random", row["against_random"]),
        )
        for metric, change in (changes or {}).items()
    ]
    if lines:
        print_table(
            f"{title} (shares in points; 95 % interval; against unmasked: over questions, p two-sided; "
            "against "
            "random: over random sets, p one-sided, lower than another random set)",
            (
                *("condition", "against", "metric", "questions", "change", "interval", "p", "p (Holm)"),
                *("rank p", "effect size", "detectable"),
            ),
            lines,
            optional=("effect size", "detectable", "rank p"),
        )
        _print_least_rank(rows)


def _change_cells(row: Mapping[str, Any], against: str, metric: str, change: Mapping[str, Any]) -> list[str]:
    return [
        *(row["condition"], against, metric_text(metric), f"{change['n_questions']:,}"),
        *(metric_change(metric, change["effect"]), metric_interval(metric, change["interval"])),
        *(p_text(change.get(p)) for p in ("p_value", "p_holm", "empirical_p")),
        number(change.get("effect_size"), signed=True),
        metric_change(metric, change.get("detectable")).lstrip("+"),
    ]


def _print_least_rank(rows: Sequence[Mapping[str, Any]]) -> None:
    """Say what the rank p of so few random sets cannot show."""
    tests = [test for row in rows for test in (row["against_random"] or {}).values()]
    fewest = min((test["n_random"] for test in tests), default=None)
    if fewest == 1:
        print_line("A single random set gives only a rank p, which is never below 0.5; use 10 or more.")
    elif fewest is not None and fewest < LEAST_FOR_RANK:
        print_line(
            f"The rank p of {fewest} random sets is never below {1 / (fewest + 1):.3f}; it can reach 0.05 "
            f"with {LEAST_FOR_RANK} or more. p is a prediction t, which needs fewer."
        )


def print_losses(rows: Sequence[dict[str, Any]]) -> None:
    """Print where the accuracy of each set went: to the answer format or to knowledge."""
    lines = []
    for row in rows:
        loss = row.get("loss")
        if loss is None:
            continue
        test = row["mcnemar"]
        lines.append(
            (
                row["condition"],
                row["n_questions"],
                *(points(loss[part]["effect"]) for part in ("accuracy", "format", "knowledge")),
                metric_interval("accuracy", loss["knowledge"]["interval"]),
                p_text(loss["knowledge"]["p_value"]),
                f"{test['lost']} / {test['won']}",
                f"{p_text(test['exact_p'])} / {p_text(test['mid_p'])}",
                p_text(row["p_holm"]),
            )
        )
    if lines:
        print_table(
            "Accuracy lost, in points: format (labels lose to other tokens) + knowledge (another label wins)",
            (
                *("condition", "questions", "lost", "format", "knowledge", "knowledge 95 %", "knowledge p"),
                *("questions lost / won", "McNemar exact / mid p", "accuracy p (Holm)"),
            ),
            lines,
            optional=("McNemar exact / mid p", "questions lost / won", "knowledge p"),
        )
        for row in rows:
            print_verdict(row)


def print_verdict(row: Mapping[str, Any]) -> None:
    """Point out losses of accuracy that are mostly format loss."""
    loss = row.get("loss")
    if loss is None or loss["accuracy"]["effect"] <= 0:
        return
    share = loss["format"]["effect"] / loss["accuracy"]["effect"]
    if share >= 0.5:
        print_line(
            f"{row['condition']}: {100 * min(share, 1):.0f} % of the lost accuracy is lost answer format, "
            "not lost knowledge; do not report it as culture."
        )


def print_matrix(matrix: Mapping[str, Any]) -> None:
    """Print a selectivity matrix: change of each culture (columns) under each culture's mask (rows)."""
    masked, evaluated = matrix["masked"], matrix["evaluated"]
    print_table(
        f"Change of {metric_text(matrix['metric'])} in points: rows masked, columns evaluated"
        f"{matrix_questions(matrix)}",
        ("masked", *evaluated, "own rank", "own p (Holm)"),
        [
            (
                culture,
                *map(points, row),
                number(rank),
                p_text(p),
            )
            for culture, row, rank, p in zip(
                masked, matrix["change"], matrix["own_rank"], matrix["own_p"], strict=True
            )
        ],
    )
    print_line(
        f"Own culture falls by {points(matrix['dominance'])} points more than the others "
        f"(p {p_text(matrix['dominance_p'])} over all assignments of masks to cultures); mean rank of the "
        "own culture "
        f"{number(sum(matrix['own_rank']) / len(masked))} of {len(evaluated)}."
    )
    if matrix["related"] is not None:
        print_line(
            f"Related cultures change by {points(matrix['related'])} points against unrelated ones "
            f"(p {p_text(matrix['related_p'])} that they fall more)."
        )


def print_doses(doses: Sequence[Mapping[str, Any]]) -> None:
    """Print effect and damage of every dose."""
    for metric in dict.fromkeys(dose["metric"] for dose in doses):
        print_table(
            f"Dose and response in {metric_text(metric)}, points: effect on cultural benchmarks, "
            f"damage on the others{dose_questions(doses)}",
            ("condition", "factor", "share", "neurons", "effect", "damage", "specificity", "Pareto"),
            [
                (
                    dose["condition"],
                    f"{dose['factor']:g}",
                    percent(dose["share"]),
                    dose["n_neurons"],
                    *(points(dose[part]) for part in ("effect", "damage", "specificity")),
                    "best" if dose["best"] else "",
                )
                for dose in doses
                if dose["metric"] == metric
            ],
        )


def print_results(results: dict[str, Any]) -> None:
    """Print all tables of an evaluation."""
    print_rows(results["rows"])
    for matrix in results.get("matrix", ()):
        print_matrix(matrix)
    if results.get("dose"):
        print_doses(results["dose"])
