"""Effects of masking with intervals, and all metrics of an evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from culnig.core.text import METRIC_NAMES
from culnig.evaluation.stored import Evaluation
from culnig.reporting.charts import Mark, MarkRow, intervals
from culnig.reporting.sections.panels import Panel, Section, slug
from culnig.reporting.sources import masked_rows, rows_of
from culnig.reporting.tables import Cell, Table, number_text

_LEGEND = (
    ("effect", "change against the unmasked model, 95 % interval"),
    ("against", "against the random baselines, 95 % interval of another random set"),
    ("random", "one random baseline against the unmasked model"),
)


def masking_section(evaluations: Sequence[Evaluation]) -> Section:
    """Change of each metric under each mask, next to random masks."""
    panels = []
    for evaluation in evaluations:
        rows, name = rows_of(evaluation), evaluation.folder.name
        prefix = f"{name}: " if len(evaluations) > 1 else ""
        for metric in METRIC_NAMES:
            if any(metric in row["change"] for row in masked_rows(rows)):
                panels.append(_metric_panel(rows, metric, f"{prefix}{METRIC_NAMES[metric]}", name))
        panels.append(_results_panel(rows, f"{prefix}all metrics", name))
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
    percent = metric != "alignment"
    form = "+.2%" if percent else "+.2f"
    drawn, cells = [], []
    for row in masked_rows(rows):
        if metric in row["change"]:
            label = f"{row['benchmark']} (n = {row['n']:,})"
            drawn.append(MarkRow(row["condition"], _marks(row, rows, metric, form), label))
            cells += _cells(row, metric)
    kinds = {mark.kind for row in drawn for mark in row.marks}
    metric_name = METRIC_NAMES[metric]
    return Panel(
        title,
        intervals(
            drawn,
            title=f"Change of {metric_name} when neurons are masked",
            description=f"{len(drawn)} masks with 95 % intervals, next to random baselines.",
            axis=f"change of {metric_name}" + (" (percentage points)" if percent else ""),
            percent=percent,
        ),
        "",
        Table(
            slug("masking", name, metric),
            f"Change of {metric_name} when neurons are masked; 95 % intervals and two-sided p over questions "
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
            *(row["benchmark"], row["condition"], against, result["n"], result["n_questions"]),
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
            "Metrics of every condition; lost accuracy split into answer format and knowledge",
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
            ("", "", "g", ",", ",", ",", ".1%", ".1%", ".4f", ".4f", ".1%", "+.1%", "+.1%", "+.1%"),
        ),
        open_table=True,
    )
