"""`culnig-engine report`: all results in one HTML file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from culnig.cli.options import PATH, out_options
from culnig.cli.output import print_json, print_line, size_text


@click.command("report")
@click.argument("paths", nargs=-1, required=True, type=PATH)
@click.option("--title", help="Title of the page; by default it names the model.")
@click.option(
    "--neurons-listed",
    type=click.IntRange(min=1),
    default=100,
    show_default=True,
    help="Number of best neurons of each set to list, with what raises them.",
)
@click.option("--tables", type=PATH, help="Folder to write every table to, as CSV and LaTeX.")
@click.option(
    "--published",
    help="Compare your numbers with published ones, with a verdict on each: paper, or a TOML file like "
    "data/paper.toml.",
)
@out_options("HTML file to write.", tables=False)
def command(paths: tuple[Path, ...], out: Path, tables: Path | None, as_json: bool, **options: Any) -> None:
    """Show runs, evaluations, neuron sets, instances, arms of a training and validations (PATHS) in one HTML
    file.

    The file needs no server and no network. Sections without data name the command that makes it.
    """
    from culnig.reporting.make import report

    page = report(paths, out, tables=tables, **options)
    if as_json:
        print_json(
            {
                "report": str(out),
                "bytes": out.stat().st_size,
                "sections": {section.key: section.filled for section in page.sections},
                "neurons_listed": len(page.listed),
                "tables": [table.name for table in page.tables] if tables is not None else [],
            }
        )
        return
    print_line(f"Report: {out} ({size_text(out.stat().st_size)})")
    if tables is not None:
        print_line(f"Tables: {tables}")
