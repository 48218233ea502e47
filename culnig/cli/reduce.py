"""`culnig-engine reduce`: a run made again from stored scores or tensors, without the model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from culnig.cli.options import PATH, out_options
from culnig.cli.output import print_json
from culnig.cli.progress import progress_view
from culnig.cli.score import print_run
from culnig.reporting.inspect import benchmark_rows


@click.command("reduce")
@click.argument("run", type=PATH)
@click.option(
    "--aggregator",
    help="How the contributions of the tokens become one score (needs level token): max, absmax, sum, mean, "
    "last, or a plugin's.",
)
@click.option(
    "--confidence/--no-confidence", default=True, help="Whether to weight scores by P(gold), as `score` does."
)
@click.option(
    "--padding",
    type=click.Choice(["exclude", "zero"]),
    default="exclude",
    show_default=True,
    help="zero: padding counts as a zero, as in the paper's released code.",
)
@click.option("--benchmark", "benchmarks", multiple=True, help="Only these benchmarks of the run.")
@click.option("--modules", multiple=True, help="Only these modules, such as gate_proj.")
@click.option("--layers", help="Only these layers, such as 0-3,7.")
@click.option("--culture", "cultures", multiple=True, help="Only these cultures.")
@click.option("--without-culture", "without_cultures", multiple=True, help="All cultures except these.")
@click.option("--items", multiple=True, help="Only items with this id; * matches any characters.")
@click.option("--without-items", multiple=True, help="All items except those with this id.")
@click.option("--half", type=click.IntRange(1, 2), help="One half of the questions, with all their cultures.")
@click.option("--bootstrap", is_flag=True, help="Draw questions, with all their cultures, with replacement.")
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of --half and --bootstrap."
)
@click.option(
    "--level",
    type=click.Choice(["culture", "item"]),
    default="culture",
    show_default=True,
    help="What the new run stores.",
)
@click.option(
    "--memory", default="1G", show_default=True, help="Maximum memory for arrays, such as 500M or 4G."
)
@click.option(
    "--compression",
    type=click.Choice(["none", "fast", "default"]),
    default="default",
    show_default=True,
    help="How files are compressed.",
)
@out_options("Run folder to create.")
def command(run: Path, out: Path, as_json: bool, **choice: Any) -> None:
    """Make a new run from the items stored in RUN (levels item and token), without the model.

    With the settings of RUN, the new run equals RUN bit for bit.
    """
    from culnig.reanalysis.offline import reduce

    with progress_view() as view:
        reduced = reduce(run, out, progress=view.progress, **choice)
    if as_json:
        print_json({"run": str(out), "benchmarks": benchmark_rows(reduced)})
        return
    print_run(reduced)
