"""`culnig-engine compare`: paired significance from stored evaluations, without the model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from culnig.cli.evaluation_tables import print_changes, print_losses
from culnig.cli.options import PATH, json_option
from culnig.cli.output import print_json


@click.command("compare")
@click.argument("evaluations", type=PATH, nargs=-1, required=True)
@click.option(
    "--condition", "conditions", multiple=True, help="Only this condition; may be given several times."
)
@click.option("--against", help="Compare with this condition instead of the unmasked (or the same) one.")
@json_option()
def command(
    evaluations: tuple[Path, ...], conditions: tuple[str, ...], against: str | None, as_json: bool
) -> None:
    """Test the conditions of one evaluation, or those of several against the first.

    One folder: each neuron set against the unmasked model and its random baselines. Several: each
    condition of the later folders against the same condition of the first, over the same items.
    """
    from culnig.evaluation.compare import compare

    rows = compare(*evaluations, conditions=conditions, against=against)
    if as_json:
        print_json({"comparisons": rows})
        return
    print_comparisons(rows)


def print_comparisons(rows: list[dict[str, Any]]) -> None:
    """Print changes and losses, benchmark by benchmark."""
    for benchmark in dict.fromkeys(row["benchmark"] for row in rows):
        own = [row for row in rows if row["benchmark"] == benchmark]
        title = f"{benchmark}: {own[0]['n']:,} items, {own[0]['n_questions']:,} independent questions"
        print_changes(own, title=title)
        print_losses(own)
