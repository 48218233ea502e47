"""What masking did: effects with intervals, and all figures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from culnig.evaluation.conditions import UNMASKED
from culnig.evaluation.stored import Evaluation
from culnig.report.drawing import Mark, MarkRow, intervals
from culnig.report.sections import Panel, Section, slug
from culnig.report.sources import rows_of
from culnig.report.tables import Table, number_text

METRICS = {
    "accuracy": "accuracy",
    "option_accuracy": "option accuracy",
    "p_gold": "P(gold)",
    "option_mass": "option mass",
    "alignment": "alignment",
}
"""Metrics that are drawn, with their names."""

_LEGEND = (
    ("effect", "change against the unmasked model, 95 % interval"),
    ("against", "against the random baselines, 95 % interval"),
    ("random", "one random baseline against the unmasked model"),
)


def masking_section(evaluations: Sequence[Evaluation]) -> Section:
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
                    *(row["p_gold"], row["option_mass"], row["chance"]),
                    *(lost(row, part) for part in ("accuracy", "format", "knowledge")),
                )
                for row in rows
            ],
            ("", "", "g", ",", ",", ".1%", ".1%", ".4f", ".4f", ".1%", "+.1%", "+.1%", "+.1%"),
        ),
        open_table=True,
    )
