"""`culnig-engine leaderboard`: methods by how well they find known neurons, and by what they cost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from culnig.cli.options import PATH, json_option
from culnig.cli.output import print_json, print_table
from culnig.core.quantities import number
from culnig.core.text import size_text


@click.command("leaderboard")
@click.argument("validations", type=PATH, nargs=-1, required=True)
@json_option()
def command(validations: tuple[Path, ...], as_json: bool) -> None:
    """Rank methods by the VALIDATIONS that `validate --output` wrote, of any worlds and seeds."""
    from culnig.validation.leaderboard import leaderboard

    document = leaderboard(validations)
    if as_json:
        print_json(document)
        return
    for world in dict.fromkeys(row["world"] for row in document["rows"]):
        rows = [row for row in document["rows"] if row["world"] == world]
        print_table(
            f"World {world}, {len(rows[0]['seeds'])} seeds: mean AP, lowest to highest (chance)",
            ("method", "general", "specific", "specific, all modules", "passes", "seconds", "memory", ""),
            [
                (
                    row["method"],
                    *(_spread(row[key]) for key in ("general", "specific", "all_modules")),
                    row["passes"],
                    number(row["seconds"]),
                    size_text(row["memory"]),
                    "flattered" if row["flattered"] else "",
                )
                for row in rows
            ],
            optional=("memory", "passes", "specific, all modules"),
        )


def _spread(figure: dict[str, Any]) -> str:
    mean, low, high, chance = (number(figure[key]) for key in ("mean", "low", "high", "chance"))
    return f"{mean}, {low} to {high} ({chance})"
