"""Effects of masking with intervals, and all metrics of an evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from culnig.core.quantities import IN_PERCENT, metric_value
from culnig.core.text import METRIC_NAMES, counted
from culnig.evaluation.conditions import UNMASKED
from culnig.evaluation.stored import Evaluation
from culnig.reporting.charts import Mark, MarkRow, intervals
from culnig.reporting.sections.panels import Panel, Section, slug
from culnig.reporting.sources import masked_rows, rows_of
from culnig.reporting.tables import Cell, Table, number_text

_LEGEND = (
    ("effect", "change against the unmasked model, 95 % interval"),
    ("against", "against the random baselines, 95 % interval of another random set"),
    ("random", "one random baseline against the unmasked model"),
    ("chance", "where the model would be at chance"),
)
_WITH_CHANCE = ("accuracy", "option_accuracy")
"""Metrics with a chance level."""


def masking_section(evaluations: Sequence[Evaluation]) -> Section:
    """Change of each metric under each mask, next to random masks."""
    panels = []
    for evaluation in evaluations:
        rows, name = rows_of(evaluation), evaluation.folder.name
        own = [
            _metric_panel(rows, metric, METRIC_NAMES[metric], name)
            for metric in METRIC_NAMES
            if any(metric in row["change"] for row in masked_rows(rows))
        ]
        own.append(_results_panel(rows, "all metrics", name))
        panels += [replace(panel, group=name if len(evaluations) > 1 else "") for panel in own]
    return Section(
        "masking",
        "What masking the neurons does",
        "Left of zero, the model is worse with the neurons masked. Random neurons of the same modules and "
        "layers show what masking alone does: only a larger effect belongs to these neurons. Intervals and "
        "p-values against the unmasked model are computed over independent questions, those against random "
        "neurons over the random sets.",
        panels,
        "culnig-engine evaluate --model MODEL --benchmark BENCHMARK --neurons FILE --random-baseline 10 -o "
        "EVAL",
    )


def _metric_panel(rows: Sequence[dict[str, Any]], metric: str, title: str, name: str) -> Panel:
    percent = metric in IN_PERCENT
    form = "+%" if percent else "+3"
    drawn, cells = [], []
    for row in masked_rows(rows):
        if metric in row["change"]:
            marks = [*_chance_mark(row, rows, metric), *_marks(row, rows, metric, form)]
            drawn.append(MarkRow(with_factor(row), marks, _level_text(row, rows, metric)))
            cells += _cells(row, metric)
    kinds = {mark.kind for row in drawn for mark in row.marks}
    metric_name = METRIC_NAMES[metric]
    is_masked = all(row["factor"] == 0 for row in masked_rows(rows))
    occasion = f"when neurons are {'masked' if is_masked else 'scaled'}"
    return Panel(
        title,
        intervals(
            drawn,
            title=f"Change of {metric_name} {occasion}",
            description=f"{counted(len(drawn), 'mask')} with 95 % intervals, next to random baselines.",
            axis=f"change of {metric_name}" + (" (percentage points)" if percent else ""),
            percent=percent,
        ),
        "",
        Table(
            slug("masking", name, metric),
            f"Change of {metric_name}{' in points' if percent else ''} {occasion}; 95 % intervals "
            "and two-sided p over questions "
            "against the unmasked model; prediction intervals and one-sided p (lower) over random sets "
            "against random neurons",
            (
                *("benchmark", "neurons", "against", "items", "questions", "change", "low", "high"),
                *("p", "p (Holm)"),
            ),
            cells,
            ("", "", "", ",", ",", form, form, form, "p", "p"),
        ),
        legend=[entry for entry in _LEGEND if entry[0] in kinds],
    )


def with_factor(row: Mapping[str, Any]) -> str:
    """The condition of a row, with the factor that its neurons are scaled by, unless that is 0."""
    factor = f" ×{row['factor']:g}"
    name = str(row["condition"])
    return name if row["factor"] == 0 or name.endswith(factor) else name + factor


def _unmasked(row: Mapping[str, Any], rows: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """The unmasked model on the benchmark of a row."""
    own = (other for other in rows if other["benchmark"] == row["benchmark"])
    return next((other for other in own if other["condition"] == UNMASKED), None)


def _level_text(row: Mapping[str, Any], rows: Sequence[dict[str, Any]], metric: str) -> str:
    """A benchmark with its questions, and the level that changes start from."""
    parts = [counted(row["n_questions"], "question")]
    start = _unmasked(row, rows)
    if start is not None and start.get(metric) is not None:
        parts.append(f"unmasked {metric_value(metric, start[metric])}")
    if metric in _WITH_CHANCE and row["chance"] is not None:
        parts.append(f"chance {metric_value(metric, row['chance'])}")
    return f"{row['benchmark']} ({', '.join(parts)})"


def _chance_mark(row: Mapping[str, Any], rows: Sequence[dict[str, Any]], metric: str) -> list[Mark]:
    start = _unmasked(row, rows)
    if metric not in _WITH_CHANCE or row["chance"] is None or start is None or start.get(metric) is None:
        return []
    change = float(row["chance"] - start[metric])
    return [Mark("chance", change, None, f"at chance: {number_text(change, '+%')}")]


def _comparisons(row: Mapping[str, Any], metric: str) -> list[tuple[str, str, dict[str, Any]]]:
    """Kind of mark, name and result of each comparison of a condition."""
    pairs = (("effect", "unmasked", row["change"]), ("against", "random", row["against_random"]))
    return [(kind, name, result[metric]) for kind, name, result in pairs if result and metric in result]


def _marks(row: Mapping[str, Any], rows: Sequence[dict[str, Any]], metric: str, form: str) -> list[Mark]:
    """Marks of the random baselines, then of the condition itself."""
    marks = []
    for other in rows:
        if other["like"] == row["condition"] and other["benchmark"] == row["benchmark"]:
            effect = other["change"][metric]["effect"]
            marks.append(Mark("random", effect, None, f"{other['condition']}: {number_text(effect, form)}"))
    for kind, against, result in _comparisons(row, metric):
        low, high = result["interval"]
        effect, *ends = (number_text(value, form) for value in (result["effect"], low, high))
        tooltip = (
            f"against {against}: {effect} ({' to '.join(ends)}), p {number_text(result['p_value'], 'p')}"
        )
        interval = None if low is None or high is None else (low, high)
        marks.append(Mark(kind, result["effect"], interval, tooltip))
    return marks


def _cells(row: Mapping[str, Any], metric: str) -> list[tuple[Cell, ...]]:
    return [
        (
            *(row["benchmark"], with_factor(row), against, result["n"], result["n_questions"]),
            *(result["effect"], *result["interval"], result["p_value"]),
            result.get("p_holm", row["p_holm"] if kind == "effect" and metric == "accuracy" else None),
        )
        for kind, against, result in _comparisons(row, metric)
    ]


def _results_panel(rows: Sequence[dict[str, Any]], title: str, name: str) -> Panel:
    """The metrics themselves, and lost accuracy split by cause."""

    def lost(row: Mapping[str, Any], cause: str) -> float | None:
        return None if not row["loss"] else float(row["loss"][cause]["effect"])

    return Panel(
        title,
        None,
        "Lost accuracy has two causes. Format: the labels as a group lose their probability. Knowledge: "
        "another label wins.",
        Table(
            slug("results", name),
            "Metrics of every condition; accuracy that is lost, in points, split into answer format and "
            "knowledge",
            (
                *("benchmark", "condition", "factor", "neurons", "items", "questions"),
                *(
                    "accuracy",
                    "option accuracy",
                    "P(gold)",
                    "option mass",
                    "chance",
                    "lost",
                    "lost to format",
                    "lost to knowledge",
                ),
            ),
            [
                (
                    *(row["benchmark"], row["condition"], row["factor"], row["n_neurons"], row["n"]),
                    *(
                        row["n_questions"],
                        row["accuracy"],
                        row["option_accuracy"],
                        row["p_gold"],
                        row["option_mass"],
                    ),
                    row["chance"],
                    *(lost(row, cause) for cause in ("accuracy", "format", "knowledge")),
                )
                for row in rows
            ],
            ("", "", "g", ",", ",", ",", "%", "%", "%", "%", "%", "+%", "+%", "+%"),
        ),
        open_table=True,
    )
