"""`culnig-engine figures`: the figures of a paper as vector files."""

from __future__ import annotations

from pathlib import Path

import click

from culnig.cli.options import json_option, overwrite_option
from culnig.cli.output import print_json, print_line


@click.command("figures")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--figure",
    "names",
    multiple=True,
    type=click.Choice(["layers", "matrix", "masking", "training", "instances"]),
    help="Only this figure; may be given several times. By default all that have data.",
)
@click.option("--format", "form", type=click.Choice(["pdf", "svg", "png"]), default="pdf", show_default=True)
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Folder to write to.")
@overwrite_option()
@json_option()
def command(
    paths: tuple[Path, ...],
    names: tuple[str, ...],
    form: str,
    output: Path,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Draw runs, evaluations, neuron sets, instances and arms of a training (PATHS), one file each."""
    from culnig.core.plots import save
    from culnig.report.figures import make_figures
    from culnig.report.sources import read_sources
    from culnig.store.files import whole_file
    from culnig.store.output_folder import files_in

    figures = make_figures(read_sources(paths), names)
    written = files_in(output, [f"{name}.{form}" for name in figures], overwrite=overwrite)
    files = dict(zip(figures, written, strict=True))
    for name, path in files.items():
        with whole_file(path) as temporary:
            save(figures[name], temporary, form)
    if as_json:
        print_json({"figures": {name: str(path) for name, path in files.items()}})
        return
    for path in files.values():
        print_line(f"Drawn: {path}")
