"""Which methods find neurons that are known, and what they cost: validations by world."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from culnig.reporting.charts import Mark, MarkRow, intervals
from culnig.reporting.sections.panels import Panel, Section, slug
from culnig.reporting.tables import Table, number_text
from culnig.validation.leaderboard import leaderboard_of

_LEGEND = (
    ("effect", "one culture's neurons, mean over seeds, lowest to highest"),
    ("against", "all planted neurons"),
    ("random", "one culture's neurons in a random order"),
)


def leaderboard_section(validations: Sequence[dict[str, Any]]) -> Section:
    """Average precision of each method by world."""
    rows = leaderboard_of(validations)["rows"]
    worlds = dict.fromkeys(row["world"] for row in rows)
    return Section(
        "leaderboard",
        "Which methods find known neurons",
        "The further right, the higher a method ranks the neurons that were planted. A method is marked as "
        "flattered where the model knows fewer facts than the method seems to find.",
        [_world(world, [row for row in rows if row["world"] == world]) for world in worlds],
        "culnig-engine validate --world hard -o validation",
    )


def _world(world: str, rows: Sequence[dict[str, Any]]) -> Panel:
    drawn = [
        MarkRow(
            row["method"],
            [
                Mark(
                    "random",
                    row["specific"]["chance"],
                    None,
                    f"chance {number_text(row['specific']['chance'], '3')}",
                ),
                *(
                    Mark(
                        kind,
                        row[which]["mean"],
                        (row[which]["low"], row[which]["high"]),
                        f"{row['method']}, {which}: {number_text(row[which]['mean'], '3')}",
                    )
                    for kind, which in (("against", "general"), ("effect", "specific"))
                ),
            ],
        )
        for row in rows
    ]
    seeds = rows[0]["seeds"]
    return Panel(
        f"World {world}",
        intervals(
            drawn,
            title=f"Average precision in the world {world}",
            description=f"{len(rows)} methods over {len(seeds)} seeds.",
            axis="average precision",
            percent=False,
        ),
        "",
        Table(
            slug("leaderboard", world),
            f"Average precision (AP) of methods in the world {world}, mean over the seeds "
            f"{', '.join(map(str, seeds))} with lowest and highest; what the scorer costs alone",
            (
                *("method", "general AP", "low", "high", "chance", "specific AP", "low", "high", "chance"),
                *("all modules", "low", "high", "chance", "passes", "seconds", "items timed"),
                *("memory (bytes)", "flattered seeds"),
            ),
            [
                (
                    row["method"],
                    *(
                        row[which][figure]
                        for which in ("general", "specific", "all_modules")
                        for figure in ("mean", "low", "high", "chance")
                    ),
                    *(row["passes"], row["seconds"], row["n_timed"], row["memory"], row["flattered"]),
                )
                for row in rows
            ],
            ("", *["3"] * 12, ",", "3", ",", ",", ","),
        ),
        legend=_LEGEND,
    )
