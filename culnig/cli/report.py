"""`culnig-engine report`: everything that was found, in one HTML file."""

from __future__ import annotations

from pathlib import Path

import click

from culnig.cli.options import json_option, overwrite_option
from culnig.cli.output import print_json, print_line, size_text


@click.command("report")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="HTML file to write.")
@click.option("--title", help="Title of the page; by default it names the model.")
@click.option(
    "--neurons-listed",
    type=click.IntRange(min=1),
    default=100,
    show_default=True,
    help="Best neurons of each set that are listed with what raises them.",
)
@click.option(
    "--tables", type=click.Path(path_type=Path), help="Folder to write every table to, as CSV and LaTeX."
)
@overwrite_option()
@json_option()
def command(
    paths: tuple[Path, ...],
    output: Path,
    title: str | None,
    neurons_listed: int,
    tables: Path | None,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Show runs, evaluations, neuron sets, instances and arms of a training (PATHS) in one HTML file.

    The file needs no server and no network. Parts without data say which command would make it.
    """
    from culnig.report.page import Report
    from culnig.report.sources import read_sources
    from culnig.store.files import make_folder
    from culnig.store.output_folder import check_file, check_free

    check_file(output, overwrite=overwrite)
    if tables is not None:
        check_free(tables, overwrite=overwrite)
    report = Report(read_sources(paths), title=title, listed=neurons_listed)
    make_folder(output.parent)
    report.write(output)
    if tables is not None:
        make_folder(tables)
        report.write_tables(tables)
    if as_json:
        print_json(
            {
                "report": str(output),
                "bytes": output.stat().st_size,
                "sections": {section.key: section.filled for section in report.sections},
                "neurons_listed": len(report.listed),
                "tables": [one.name for one in report.tables] if tables is not None else [],
            }
        )
        return
    print_line(f"Report: {output} ({size_text(output.stat().st_size)})")
    if tables is not None:
        print_line(f"Tables: {tables}")
