"""Tables of an evaluation: metrics, changes, where accuracy went, the matrix, doses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from culnig.cli.output import p_text, percent, print_line, print_table
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
                    *(percent(row[m]) if "accuracy" in m else row[m] for m in shown),
                )
                for row in here
            ],
        )
        sets = [row for row in here if row["change"] and row["like"] is None]
        print_changes(sets)
        print_losses(sets)


def _mask_text(row: Mapping[str, Any]) -> str:
    mask = row.get("mask", "scale")
    return f"×{row['factor']:g}" if mask == "scale" else str(mask)


def print_changes(rows: Sequence[dict[str, Any]], title: str = "Change") -> None:
    """Print each row's changes with intervals: against what it is compared with and against random masks."""
    lines: list[tuple[str, ...]] = []
    for row in rows:
        for against, changes in (
            (row.get("against", "unmasked"), row["change"]),
            ("random", row["against_random"]),
        ):
            for metric, change in (changes or {}).items():
                lines.append(
                    (
                        row["condition"],
                        against,
                        metric_text(metric),
                        f"{change['n_questions']:,}",
                        f"{change['effect']:+.4f}",
                        _interval_text(change["interval"]),
                        *(_p(change.get(p)) for p in ("p_value", "p_holm", "empirical_p")),
                        _signed(change.get("effect_size"), 2),
                        _signed(change.get("detectable"), 4).lstrip("+"),
                    )
                )
    if lines:
        print_table(
            f"{title} (95 % interval; against unmasked: over questions, p two-sided; against random: over "
            "random sets, p one-sided, lower than another random set)",
            (
                *("condition", "against", "metric", "questions", "change", "interval", "p", "p (Holm)"),
                *("rank p", "effect size", "detectable"),
            ),
            lines,
        )
        _print_least_rank(rows)


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


def _interval_text(interval: Sequence[float | None]) -> str:
    low, high = interval
    return "–" if low is None or high is None else f"{low:+.4f} … {high:+.4f}"


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
                *(f"{100 * loss[part]['effect']:+.1f}" for part in ("accuracy", "format", "knowledge")),
                _points_interval(loss["knowledge"]["interval"]),
                p_text(loss["knowledge"]["p_value"]),
                f"{test['lost']} / {test['won']}",
                f"{p_text(test['exact_p'])} / {p_text(test['mid_p'])}",
                _p(row["p_holm"]),
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
                *("–" if value is None else f"{100 * value:+.1f}" for value in row),
                f"{rank:.2f}",
                p_text(p),
            )
            for culture, row, rank, p in zip(
                masked, matrix["change"], matrix["own_rank"], matrix["own_p"], strict=True
            )
        ],
    )
    print_line(
        f"Own culture falls by {100 * matrix['dominance']:+.2f} points more than the others "
        f"(p {p_text(matrix['dominance_p'])} over all assignments of masks to cultures); mean rank of the "
        "own culture "
        f"{sum(matrix['own_rank']) / len(masked):.2f} of {len(evaluated)}."
    )
    if matrix["related"] is not None:
        print_line(
            f"Related cultures change by {100 * matrix['related']:+.2f} points against unrelated ones "
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
                    *(_points(dose[part]) for part in ("effect", "damage", "specificity")),
                    "best" if dose["best"] else "",
                )
                for dose in doses
                if dose["metric"] == metric
            ],
        )


def _points(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:+.2f}"


def _points_interval(interval: Sequence[float | None]) -> str:
    low, high = interval
    return "–" if low is None or high is None else f"{100 * low:+.1f} … {100 * high:+.1f}"


def _p(value: float | None) -> str:
    return "–" if value is None else p_text(value)


def _signed(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:+.{digits}f}"


def print_results(results: dict[str, Any]) -> None:
    """Print all tables of an evaluation."""
    print_rows(results["rows"])
    for matrix in results.get("matrix", ()):
        print_matrix(matrix)
    if results.get("dose"):
        print_doses(results["dose"])
