"""Single problems: how many of them the neurons contribute to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from culnig.core.statistics import paired_difference
from culnig.evaluation.instances.file import StoredInstances
from culnig.reporting.charts import bars
from culnig.reporting.sections.panels import Panel, Section, slug
from culnig.reporting.tables import Cell, Table, number_text

By = Literal["topic", "culture"]
BY: tuple[By, ...] = ("topic", "culture")


def positive_shares(stored: StoredInstances, by: By) -> tuple[list[str], list[float]]:
    """Topics or cultures, and the share of the problems of each with a positive summed score."""
    groups, sums = getattr(stored, by), stored.difference.sum(axis=1)
    names = list(dict.fromkeys(groups.tolist()))
    return names, [float((sums[groups == name] > 0).mean()) for name in names]


REFERENCE = 0.5
"""Share of problems with a positive sum if signs were those of a coin."""


def positive_interval(stored: StoredInstances, own: NDArray[np.bool_]) -> tuple[float, float] | None:
    """95 % interval, over questions, of the share of items with a positive summed score.

    None if the file does not say which items share a question, or nothing varies.
    """
    if stored.question is None:
        return None
    positive = stored.difference.sum(axis=1)[own] > 0
    low, high = paired_difference(np.zeros(len(positive)), positive, stored.question[own]).interval
    return None if np.isnan(low) else (max(0.0, low), min(1.0, high))


def members(stored: StoredInstances, by: By) -> list[NDArray[np.bool_]]:
    """Which items are of each topic or culture."""
    groups = getattr(stored, by)
    return [groups == name for name in dict.fromkeys(groups.tolist())]


def _n_questions(stored: StoredInstances, own: NDArray[np.bool_]) -> int | None:
    """Questions of some of the items; None where the file does not say which items share one."""
    return None if stored.question is None else len(set(stored.question[own].tolist()))


def _with_n(cell: Sequence[Cell]) -> str:
    """A group with its questions, or its problems where questions are unknown."""
    return f"{cell[0]} (n = {cell[1] if cell[2] is None else cell[2]:,})"


def instances_section(instances: Sequence[StoredInstances]) -> Section:
    """Share of single problems with a positive score, by topic and culture."""
    return Section(
        "instances",
        "Single problems",
        "Whether the neurons contribute to most problems or to a few, and to which topics and cultures.",
        [_panel(stored, by, several=len(instances) > 1) for stored in instances for by in BY],
        "culnig-engine instances --model MODEL --benchmark BENCHMARK --neurons FILE -o instances.h5",
    )


def _panel(stored: StoredInstances, by: By, *, several: bool) -> Panel:
    name = str(stored.record.get("neuron_set", {}).get("name", "neurons"))
    benchmark = next(iter(stored.record.get("benchmarks", {})), "")
    kind = "raw scores" if stored.control is None else "target − control"
    sums = stored.difference.sum(axis=1)
    positive = (stored.difference > 0).mean(axis=1)
    names, shares = positive_shares(stored, by)
    groups = members(stored, by)
    ranges = [positive_interval(stored, own) for own in groups]
    labels = [group or "–" for group in names]
    cells: list[tuple[Cell, ...]] = [
        (
            label,
            int(own.sum()),
            _n_questions(stored, own),
            float(sums[own].mean()),
            share,
            *(ends or (None, None)),
            float(positive[own].mean()),
        )
        for label, own, share, ends in zip(labels, groups, shares, ranges, strict=True)
    ]
    return Panel(
        f"{name} on {benchmark}, by {by}" if several else f"by {by}",
        bars(
            [_with_n(cell) for cell in cells],
            shares,
            [f"{_with_n(cell)}: {number_text(cell[4], '%')} of {cell[1]:,} problems" for cell in cells],
            title=f"Share of problems with a positive score, by {by}",
            description=f"{name} on {benchmark}, {kind}.",
            ranges=ranges,
            reference=REFERENCE,
        ),
        f"Share of the problems on which the {len(stored.neurons):,} neurons of {name} have a positive sum "
        f"of scores ({benchmark}, {kind}), with 95 % intervals over questions. The line is at 50 %, where as "
        "many "
        "problems have a positive sum as a negative one.",
        Table(
            slug("instances", name, by),
            f"Instance level: {name} on {benchmark}, {kind}",
            (by, "problems", "questions", "mean sum", "sum positive", "low", "high", "neurons positive"),
            cells,
            ("", ",", ",", "+3", "%", "%", "%", "%"),
        ),
    )
