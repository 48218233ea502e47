"""The table of `train --arms`: task gain, culture change, what moved."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from culnig.cli.output import print_table
from culnig.core.quantities import metric_interval, number, p_text, percent, points
from culnig.core.text import metric_text


def print_arms(document: dict[str, Any]) -> None:
    """Print gains and changes of every arm, the arms against each other, and the drift of the neurons."""
    changes, contrasts = document["changes"], document["contrasts"]
    seeds, first = len(document["seeds"]), document["arms"][0]["arm"]
    print_table(
        f"Before and after training on {document['task']}, {seeds} seed{'s' if seeds > 1 else ''}: accuracy, "
        "change in points (95 % interval over questions)",
        (
            *(
                "arm",
                "benchmark",
                "kind",
                "questions",
                "before",
                "after",
                "change",
                "interval",
                "p",
                "p (Holm)",
            ),
            "seeds",
        ),
        [
            (
                *(row["arm"], row["benchmark"], row["kind"], row["change"]["n_questions"]),
                *(percent(row["before"]), percent(row["after"])),
                *_change(row),
                f"{points(min(row['by_seed']))} … {points(max(row['by_seed']))}",
            )
            for row in changes
            if row["metric"] == "accuracy"
        ],
        optional=("seeds", "kind"),
    )
    print_table(
        f"P(gold) against the untrained model, and every arm against {first} (all pairs are in the files)",
        ("arm", "against", "benchmark", "metric", "questions", "change", "interval", "p", "p (Holm)"),
        [
            (
                *(row["arm"], row.get("against", "untrained"), row["benchmark"]),
                metric_text(row["metric"]),
                row["change"]["n_questions"],
                *_change(row),
            )
            for row in (*changes, *(row for row in contrasts if row["against"] == first))
            if row["metric"] == "p_gold" or (row["metric"] == "accuracy" and "against" in row)
        ],
    )
    _print_drift(document)


def _print_drift(document: dict[str, Any]) -> None:
    print_table(
        "What was trained, and how far the selected neurons moved",
        (
            "arm",
            "seed",
            "parameters",
            "share",
            "neurons in it",
            "loss",
            "moved",
            "by",
            "others by",
            "found again",
        ),
        [_drift(arm) for arm in document["arms"]],
        optional=("others by", "loss", "share"),
    )


def _change(row: dict[str, Any]) -> tuple[str, str, str, str]:
    change = row["change"]
    return (
        points(change["effect"]),
        metric_interval("accuracy", change["interval"]),
        p_text(change["p_value"]),
        p_text(row["p_holm"]),
    )


def _drift(arm: dict[str, Any]) -> Sequence[Any]:
    moved, again = arm["drift"]["moved"], arm["drift"]["found_again"]
    losses = arm["loss"]
    return (
        arm["arm"],
        arm["seed"],
        arm["n_trainable"],
        percent(arm["planned"]["share"]),
        arm["planned"]["neurons"],
        f"{number(losses[0])} → {number(losses[-1])}" if losses else "–",
        f"{moved['n_moved']} of {moved['n_neurons']}",
        percent(moved["mean"]),
        percent(moved["others_mean"]),
        "–" if again is None else f"{again['shared']} of {again['n_first']}",
    )
