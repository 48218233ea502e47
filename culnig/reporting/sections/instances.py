"""Single problems: how many of them the neurons contribute to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from culnig.evaluation.instances.file import StoredInstances
from culnig.reporting.charts import bars
from culnig.reporting.sections.panels import Panel, Section, slug
from culnig.reporting.tables import Cell, Table

By = Literal["topic", "culture"]
BY: tuple[By, ...] = ("topic", "culture")


def positive_shares(stored: StoredInstances, by: By) -> tuple[list[str], list[float]]:
    """Topics or cultures, and the share of the problems of each with a positive summed score."""
    groups, sums = getattr(stored, by), stored.difference.sum(axis=1)
    names = list(dict.fromkeys(groups.tolist()))
    return names, [float((sums[groups == name] > 0).mean()) for name in names]


def _n_questions(stored: StoredInstances, own: NDArray[np.bool_]) -> int | None:
    """Questions of some of the items; None where the file does not say which items share one."""
    return None if stored.question is None else len(set(stored.question[own].tolist()))


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
    groups, sums = getattr(stored, by), stored.difference.sum(axis=1)
    positive = (stored.difference > 0).mean(axis=1)
    names, shares = positive_shares(stored, by)
    members = [groups == group for group in names]
    labels = [group or "–" for group in names]
    cells: list[tuple[Cell, ...]] = [
        (
            label,
            int(own.sum()),
            _n_questions(stored, own),
            float(sums[own].mean()),
            share,
            float(positive[own].mean()),
        )
        for label, own, share in zip(labels, members, shares, strict=True)
    ]
    return Panel(
        f"{name} on {benchmark}, by {by}" if several else f"by {by}",
        bars(
            labels,
            shares,
            [f"{cell[0]}: {cell[4]:.1%} of {cell[1]:,} problems" for cell in cells],
            title=f"Share of problems with a positive score, by {by}",
            description=f"{name} on {benchmark}, {kind}.",
        ),
        f"Share of the problems on which the {len(stored.neurons):,} neurons of {name} have a positive sum "
        f"of scores ({benchmark}, {kind}).",
        Table(
            slug("instances", name, by),
            f"Instance level: {name} on {benchmark}, {kind}",
            (by, "problems", "questions", "mean sum", "sum positive", "neurons positive"),
            cells,
            ("", ",", ",", "+.2e", ".1%", ".1%"),
        ),
    )
