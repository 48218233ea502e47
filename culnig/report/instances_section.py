"""Single problems: which of them the neurons serve."""

from __future__ import annotations

from collections.abc import Sequence

from culnig.evaluation.instances.file import StoredInstances
from culnig.report.drawing import bars
from culnig.report.sections import Panel, Section, slug
from culnig.report.tables import Cell, Table


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
