"""Gains and costs of fine-tuning different modules, from comparisons of arms (`train --arms`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from culnig.core.text import METRIC_NAMES, counted
from culnig.reporting.charts import Mark, MarkRow, intervals
from culnig.reporting.sections.panels import Panel, Section, slug
from culnig.reporting.sources import changes_of
from culnig.reporting.tables import Cell, Table, number_text

_LEGEND = (
    ("effect", "mean over seeds against the untrained model, 95 % interval over questions and seeds"),
    ("random", "a single seed"),
)


def training_section(arms: Sequence[dict[str, Any]]) -> Section:
    """Change of each metric by arm, arms against each other, and what each arm trained."""
    panels = []
    for number, document in enumerate(arms):
        name = str(number + 1) if len(arms) > 1 else ""
        prefix = f"{document['task']} ({name}): " if name else ""
        for metric in dict.fromkeys(row["metric"] for row in document["changes"]):
            panels.append(_changes(document, metric, f"{prefix}{METRIC_NAMES.get(metric, metric)}", name))
        if document["contrasts"]:
            panels.append(_contrasts(document, f"{prefix}arm against arm", name))
        panels.append(_trained(document, f"{prefix}what was trained", name))
    return Section(
        "training",
        "What training costs",
        "Right of zero, training made the model better. The trained task should gain, and benchmarks on "
        "culture should lose nothing.",
        panels,
        "culnig-engine train --model MODEL --plan plan.yaml --task qnli --arms top,bottom,random -o arms",
    )


def _changes(document: dict[str, Any], metric: str, title: str, name: str) -> Panel:
    rows = changes_of(document, metric)
    drawn, cells = [], []
    benchmarks = [row["benchmark"] for row in rows]
    for row in sorted(rows, key=lambda row: benchmarks.index(row["benchmark"])):
        arm, benchmark, kind, change = row["arm"], row["benchmark"], row["kind"], row["change"]
        low, high = change["interval"]
        effect = Mark(
            "effect",
            change["effect"],
            None if low is None else (low, high),
            f"{arm} on {benchmark}: {number_text(change['effect'], '+%')}, "
            f"p {number_text(change['p_value'], 'p')}",
        )
        seeds = [
            Mark("random", value, None, f"seed {seed}: {number_text(value, '+%')}")
            for seed, value in zip(document["seeds"], row["by_seed"], strict=True)
        ]
        level = f"{counted(change['n_questions'], 'question')}, untrained {number_text(row['before'], '%')}"
        drawn.append(MarkRow(arm, [*seeds, effect], f"{benchmark} ({kind}; {level})"))
        cells.append(
            (
                *(
                    arm,
                    benchmark,
                    kind,
                    change["n_questions"],
                    row["before"],
                    row["after"],
                    change["effect"],
                    low,
                    high,
                ),
                *(change["p_value"], row["p_holm"], min(row["by_seed"]), max(row["by_seed"])),
            )
        )
    metric_name = METRIC_NAMES.get(metric, metric)
    return Panel(
        title,
        intervals(
            drawn,
            title=f"Change of {metric_name} by training on {document['task']}",
            description=f"{len(drawn)} arms and benchmarks with 95 % intervals, next to single seeds.",
            axis=f"change of {metric_name} (percentage points)",
            percent=True,
        ),
        "",
        Table(
            slug("training", name, metric),
            f"Change of {metric_name}, in points, by training on {_task(document)}; 95 % intervals over "
            "questions and "
            "seeds; p two-sided against the untrained model, Holm over arms and benchmarks",
            (
                *("arm", "benchmark", "kind", "questions", "before", "after", "change", "low", "high", "p"),
                *("p (Holm)", "lowest seed", "highest seed"),
            ),
            cells,
            (*("", "", "", ",", "%", "%", "+%", "+%", "+%", "p", "p"), *("+%", "+%")),
        ),
        legend=_LEGEND,
    )


def _contrasts(document: dict[str, Any], title: str, name: str) -> Panel:
    return Panel(
        title,
        None,
        "The first arm minus the second, over the same items.",
        Table(
            slug("training", name, "contrasts"),
            f"Arms against each other after training on {_task(document)}; 95 % intervals over questions and "
            "seeds; p two-sided, Holm over pairs and benchmarks",
            (
                "arm",
                "against",
                "benchmark",
                "metric",
                "questions",
                "difference",
                "low",
                "high",
                "p",
                "p (Holm)",
            ),
            [
                (
                    *(row["arm"], row["against"], row["benchmark"]),
                    *(METRIC_NAMES.get(row["metric"], row["metric"]), row["change"]["n_questions"]),
                    *(row["change"]["effect"], *row["change"]["interval"]),
                    *(row["change"]["p_value"], row["p_holm"]),
                )
                for row in document["contrasts"]
            ],
            ("", "", "", "", ",", "+%", "+%", "+%", "p", "p"),
        ),
        open_table=True,
    )


def _trained(document: dict[str, Any], title: str, name: str) -> Panel:
    return Panel(
        title,
        None,
        "Moved: selected neurons with changed weights, and how far relative to the length of their weights, "
        "next to the other neurons. Found again: neurons that were culture-general before and after "
        "training.",
        Table(
            slug("training", name, "arms"),
            f"What each arm trained on {document['task']}, and how far the selected neurons moved",
            (
                *("arm", "seed", "parameters", "share", "neurons in it", "first loss", "last loss"),
                *("neurons", "moved", "by", "others by", "found again", "of"),
            ),
            [_arm(arm) for arm in document["arms"]],
            ("", "", ",", "%", ",", "3", "3", ",", ",", "%", "%", ",", ","),
        ),
        open_table=True,
    )


def _arm(arm: dict[str, Any]) -> tuple[Cell, ...]:
    moved, again = arm["drift"]["moved"], arm["drift"]["found_again"] or {}
    first, last = (arm["loss"][0], arm["loss"][-1]) if arm["loss"] else (None, None)
    return (
        *(arm["arm"], str(arm["seed"]), arm["n_trainable"], arm["planned"]["share"]),
        *(arm["planned"]["neurons"], first, last),
        *(moved["n_neurons"], moved["n_moved"], moved["mean"], moved["others_mean"]),
        *(again.get("shared"), again.get("n_first")),
    )


def _task(document: dict[str, Any]) -> str:
    return f"{document['task']}, {counted(len(document['seeds']), 'seed')}"
