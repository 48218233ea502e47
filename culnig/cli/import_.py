"""`culnig-engine import`: score files of the released code become a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from culnig.cli.options import PATH, out_options
from culnig.cli.output import print_json, print_line, print_table


@click.command("import")
@click.argument("files", metavar="SCORES.json...", nargs=-1, required=True, type=PATH)
@click.option("--model-name", help="Name of the scored model; by default MODEL in the path outputs/MODEL/….")
@out_options("Run folder to create.")
def command(
    files: tuple[Path, ...], model_name: str | None, out: Path, overwrite: bool, as_json: bool
) -> None:
    """Turn score files of the released code (…_max_scores.json) into a run, to select from.

    Names of data sets give the roles: …control is the control, countryrc the exclusion, any other a target.
    """
    from culnig.reanalysis.score_files import import_scores

    run = import_scores(files, out, model_name=model_name, overwrite=overwrite)
    rows: list[dict[str, Any]] = [
        {
            "benchmark": stored.name,
            "role": stored.role,
            "n_cultures": len(stored.cultures),
            "n": stored.n_items,
        }
        for stored in run.benchmarks.values()
    ]
    if as_json:
        print_json(
            {"run": str(out), "model": run.model, "n_neurons": run.layout.n_neurons, "benchmarks": rows}
        )
        return
    print_table(
        f"{run.layout.n_neurons:,} neurons of {run.model}",
        ("benchmark", "role", "cultures", "items"),
        [tuple(row.values()) for row in rows],
    )
    print_line(f"Written to {out}")
