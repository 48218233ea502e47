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
    type=click.Choice(
        [
            *("layers", "depth", "culture-by-neuron", "similarity", "matrix", "masking", "dose", "training"),
            *("instances", "leaderboard"),
        ]
    ),
    help="Only this figure; may be given several times. By default all that have data.",
)
@click.option(
    "--format",
    type=click.Choice(["pdf", "svg", "png"]),
    default="pdf",
    show_default=True,
    help="File format; PDF embeds its fonts.",
)
@click.option("--width", help="Width of each figure, such as 84mm or 3.3in; by default as wide as needed.")
@click.option(
    "--columns", type=click.IntRange(1, 2), help="Width of one column of a page (84 mm) or two (174 mm)."
)
@click.option(
    "--font-size",
    type=click.FloatRange(4, 24),
    default=8.0,
    show_default=True,
    help="Size of text, in points.",
)
@out_options("Folder to write to.", tables=False)
def command(paths: tuple[Path, ...], out: Path, as_json: bool, **options: Any) -> None:
    """Draw runs, evaluations, neuron sets, instances and arms of a training (PATHS), one file each."""
    from culnig.reporting.make import figures

    files = figures(paths, out, **options)
    if as_json:
        print_json({"figures": {name: str(path) for name, path in files.items()}})
        return
    for path in files.values():
        print_line(f"Drawn: {path}")
