"""Reports and figures as a user asks for them: from paths or opened objects to files."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from culnig.core.plots import save
from culnig.errors import OutputExistsError, argument, check_at_least, check_choice, option
from culnig.report.page import LISTED, Report
from culnig.report.paper_figures import FIGURES, make_figures
from culnig.report.sources import Source, read_sources
from culnig.store.files import make_folder, whole_file

FORMATS = ("pdf", "svg", "png")


def report(
    sources: Source | Sequence[Source],
    out: Path | str,
    *,
    title: str | None = None,
    neurons_listed: int = LISTED,
    tables: Path | str | None = None,
    overwrite: bool = False,
) -> Report:
    """Show runs, evaluations, neuron sets, instances and trained arms in one HTML file.

    `sources` are opened objects or their paths. The page needs no server and no network; `title` names the
    model by default. `neurons_listed` neurons of each set are listed with what raises them. `tables` is a
    folder for every table as CSV and LaTeX. OutputExistsError where a file is in the way.
    """
    check_at_least("neurons_listed", neurons_listed, 1)
    out, tables = Path(out), None if tables is None else Path(tables)
    if out.is_dir():
        raise OutputExistsError(f"{out} is a folder; give a file with {argument('out')}")
    _check_free([out, *([] if tables is None else [tables])], overwrite)
    page = Report(read_sources(sources), title=title, listed=neurons_listed)
    make_folder(out.parent)
    page.write(out)
    if tables is not None:
        make_folder(tables)
        page.write_tables(tables)
    return page


def figures(
    sources: Source | Sequence[Source],
    out: Path | str,
    *,
    figures: Sequence[str] = (),
    format: Literal["pdf", "svg", "png"] = "pdf",
    overwrite: bool = False,
) -> Mapping[str, Path]:
    """Draw the figures of a paper into the folder `out`; returns the file of each figure.

    `sources` are opened objects or their paths; `figures` names some of layers, matrix, masking, training and
    instances, by default all that have data. OutputExistsError where a file is in the way.
    """
    check_choice("format", format, FORMATS)
    for name in figures:
        check_choice("figures", name, FIGURES)
    folder = Path(out)
    if folder.exists() and not folder.is_dir():
        raise OutputExistsError(f"{folder} is a file; give a folder as {argument('out')}")
    drawn = make_figures(read_sources(sources), tuple(figures))
    files = {name: folder / f"{name}.{format}" for name in drawn}
    _check_free(files.values(), overwrite)
    make_folder(folder)
    for name, path in files.items():
        with whole_file(path) as temporary:
            save(drawn[name], temporary, format)
    return files


def _check_free(paths: Iterable[Path], overwrite: bool) -> None:
    for path in paths:
        if os.path.lexists(path) and not overwrite:
            raise OutputExistsError(
                f"{path} exists; add {option('overwrite')} to replace it, or give another"
            )
