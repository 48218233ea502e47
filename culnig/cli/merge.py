"""`culnig-engine merge`: shards of one run, or runs over different items, as one run."""

from __future__ import annotations

from pathlib import Path

import click

from culnig.cli.options import PATH, out_options
from culnig.cli.output import print_json
from culnig.cli.score import print_run
from culnig.reporting.inspect import benchmark_rows


@click.command("merge")
@click.argument("runs", nargs=-1, required=True, type=PATH)
@click.option("--allow-overlap", is_flag=True, help="Count an item once for each run that holds it.")
@out_options("Run folder to create.")
def command(runs: tuple[Path, ...], out: Path, allow_overlap: bool, overwrite: bool, as_json: bool) -> None:
    """Merge all shards of a run (--shard), or finished runs over different items, into one run.

    The order of the runs does not matter.
    """
    from culnig.store.merge import merge

    merged = merge(runs, out, allow_overlap=allow_overlap, overwrite=overwrite)
    if as_json:
        print_json({"run": str(out), "benchmarks": benchmark_rows(merged)})
        return
    print_run(merged)
