"""`culnig-engine figures`: the figures of a paper as vector files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from culnig.cli.options import PATH, out_options
from culnig.cli.output import print_json, print_line


@click.command("figures")
@click.argument("paths", nargs=-1, required=True, type=PATH)
@click.option(
    "--figure",
    "figures",
    multiple=True,
    type=click.Choice(["layers", "matrix", "masking", "training", "instances"]),
    help="Only this figure; may be given several times. By default all that have data.",
)
@click.option("--format", type=click.Choice(["pdf", "svg", "png"]), default="pdf", show_default=True)
@out_options("Folder to write to.")
def command(paths: tuple[Path, ...], out: Path, as_json: bool, **options: Any) -> None:
    """Draw runs, evaluations, neuron sets, instances and arms of a training (PATHS), one file each."""
    from culnig.reporting.make import figures

    files = figures(paths, out, **options)
    if as_json:
        print_json({"figures": {name: str(path) for name, path in files.items()}})
        return
    for path in files.values():
        print_line(f"Drawn: {path}")
