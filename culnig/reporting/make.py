"""Reports and figures as users call them: from paths or opened objects to files."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from culnig.core.plot_style import COLUMNS, FONT_SIZE, FORMATS, Size, millimetres, save, sized
from culnig.errors import InputError, argument, check_at_least, check_choice
from culnig.reporting.figures import FIGURES, make_figures
from culnig.reporting.page import LISTED, Report
from culnig.reporting.published import read_published
from culnig.reporting.sources import Source, read_sources
from culnig.store.files import whole_file
from culnig.store.output_folder import check_file, check_free, owned_file, owned_files


def report(
    sources: Source | Sequence[Source],
    out: Path | str,
    *,
    title: str | None = None,
    neurons_listed: int = LISTED,
    tables: Path | str | None = None,
    published: Path | str | None = None,
    overwrite: bool = False,
) -> Report:
    """Show runs, evaluations, neuron sets, instances, trained arms and validations in one HTML file.

    `sources` are opened objects or their paths. The page needs no server and no network; `title` names the
    model by default. The best `neurons_listed` neurons of each set are listed with what raises them.
    `tables` is a folder to write every table to, as CSV and LaTeX. `published` sets numbers of a publication
    beside those of the inputs, with a verdict on each: "paper", or a TOML file of the same form as
    data/paper.toml. OutputExistsError if a file exists already.
    """
    check_at_least("neurons_listed", neurons_listed, 1)
    out, tables = Path(out), None if tables is None else Path(tables)
    check_file(out, overwrite=overwrite, inputs=(sources,))
    if tables is not None:
        check_free(tables, overwrite=overwrite)
        if tables.resolve() == out.resolve():
            raise InputError(f"{out} cannot be the report and the folder of its tables; give another folder")
    numbers = None if published is None else read_published(published)
    with contextlib.ExitStack() as stack:
        stack.enter_context(owned_file(out, overwrite=overwrite, inputs=(sources, published)))
        opened = replace(read_sources(sources), shown_in=out.parent)
        page = Report(opened, title=title, listed=neurons_listed, published=numbers)
        if tables is not None:
            names = [f"{each.name}.{suffix}" for each in page.tables for suffix in ("csv", "tex")]
            stack.enter_context(owned_files(tables, names, overwrite=overwrite, inputs=(sources,)))
        page.write(out)
        if tables is not None:
            page.write_tables(tables)
    return page


def figures(
    sources: Source | Sequence[Source],
    out: Path | str,
    *,
    figures: Sequence[str] = (),
    format: Literal["pdf", "svg", "png"] = "pdf",
    width: str | float | None = None,
    columns: Literal[1, 2] | None = None,
    font_size: float = FONT_SIZE,
    overwrite: bool = False,
) -> Mapping[str, Path]:
    """Draw the pictures of the report for a paper into the folder `out`; returns the file of each figure.

    `sources` are opened objects or their paths; `figures` names some of layers, depth, culture-by-neuron,
    similarity, matrix, masking, dose, training, instances and leaderboard, by default all that have data.
    `width` is a length such as "84mm"; `columns` is the width of one or two columns of a page (84 and
    174 mm); without both, a figure is as wide as its contents need. `font_size` is in points.
    OutputExistsError if a file exists already.
    """
    check_choice("format", format, FORMATS)
    check_choice("columns", columns, (None, *COLUMNS))
    if not 4 <= font_size <= 24:
        raise InputError(f"{argument('font_size')} is {font_size:g}; give 4 to 24 points")
    if width is not None and columns is not None:
        raise InputError(
            f"{argument('width')} and {argument('columns')} both set the width; give one of them"
        )
    chosen = millimetres(width) if width is not None else COLUMNS[columns] if columns is not None else None
    for name in figures:
        check_choice("figures", name, FIGURES)
    with sized(Size(chosen, font_size)):
        drawn = make_figures(read_sources(sources), tuple(figures))
    names = [f"{name}.{format}" for name in drawn]
    with owned_files(Path(out), names, overwrite=overwrite, inputs=(sources,)) as paths:
        files = dict(zip(drawn, paths, strict=True))
        for name, path in files.items():
            with whole_file(path) as temporary:
                save(drawn[name], temporary, format)
    return files
