"""`culnig-engine compare`: paired significance from stored evaluations, without the model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from culnig.cli.evaluation_tables import print_changes, print_losses
from culnig.cli.options import json_option
from culnig.cli.output import print_json


@click.command("compare")
@click.argument("evaluations", type=click.Path(path_type=Path), nargs=-1, required=True)
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
    from culnig.evaluation.compare import compare_between, compare_within, open_evaluation
    from culnig.evaluation.conditions import UNMASKED

    first, *others = (open_evaluation(folder) for folder in evaluations)
    if others:
        rows = [row for other in others for row in compare_between(first, other, conditions, against)]
    else:
        rows = compare_within(first, conditions, against or UNMASKED)
    if as_json:
        print_json({"comparisons": rows})
        return
    print_comparisons(rows)


def print_comparisons(rows: list[dict[str, Any]]) -> None:
    """Print changes and losses, benchmark by benchmark."""
    for benchmark in dict.fromkeys(row["benchmark"] for row in rows):
        here = [row for row in rows if row["benchmark"] == benchmark]
        title = f"{benchmark}: {here[0]['n']:,} items, {here[0]['n_units']:,} independent questions"
        print_changes(here, title=title)
        print_losses(here)
