"""Printing on standard output: tables for people, a JSON document for scripts.

On a terminal a table is fitted to its width (`culnig.cli.tables`), elsewhere it is as wide as it needs to be,
and with --plain its cells are separated by tabs. Names from files are printed as text: no markup, no control
characters (`visible`).
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from typing import Any

import click
from rich.console import Console
from rich.text import Text
from rich.tree import Tree

from culnig.cli.tables import Cell as Cell
from culnig.cli.tables import cell_text, laid_out, tab_separated, wrapped
from culnig.core.quantities import p_text as p_text
from culnig.core.quantities import percent as percent
from culnig.core.text import harmless_json, visible
from culnig.core.text import size_text as size_text

PLAIN = "culnig.plain"
"""Key of --plain in the context of a command."""


def print_json(document: Any) -> None:
    """Print one JSON document: UTF-8 where the output takes it, else escapes."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    plain = encoding.lower().replace("-", "") != "utf8"
    click.echo(harmless_json(json.dumps(document, indent=1, ensure_ascii=plain)))


def print_table(
    title: str, headings: Sequence[str], rows: Sequence[Sequence[Cell]], *, optional: Sequence[str] = ()
) -> None:
    """Print a table; `optional` columns are left out on a narrow terminal, in this order."""
    headings = [visible(heading) for heading in headings]
    cells = [[visible(cell_text(cell)) for cell in row] for row in rows]
    context = click.get_current_context(silent=True)
    if context is not None and context.meta.get(PLAIN):
        print_line("\n".join(tab_separated(visible(title), headings, cells)))
        return
    console, width = standard_console(), _width()
    layout = laid_out(headings, cells, width, optional)
    lines = [visible(title)] if width is None else wrapped(visible(title), width)
    above = [] if not layout.above else [layout.above] if width is None else wrapped(layout.above, width)
    for line, style in (
        *((line, _BOLD) for line in lines),
        *((line, "") for line in above),
        *((line, _BOLD) for line in layout.headings),
        *((line, "") for line in (*layout.body, *filter(None, [layout.below]), "")),
    ):
        console.print(Text(line, style="" if os.environ.get("NO_COLOR") else style), soft_wrap=True)


_BOLD = "bold"


def _width() -> int | None:
    """Width of the terminal; elsewhere the value of COLUMNS, or None."""
    console = standard_console()
    if console.is_terminal:
        return console.width
    columns = os.environ.get("COLUMNS", "")
    return int(columns) if columns.isdecimal() and int(columns) else None


def print_tree(title: str, root: tuple[str, list[Any]]) -> None:
    """Print a tree of (label, branches)."""

    def grow(tree: Tree, node: tuple[str, list[Any]]) -> None:
        for branch in node[1]:
            grow(tree.add(_plain(branch[0])), branch)

    console = standard_console()
    console.print(Text(visible(title), style="bold"))
    trunk = Tree(_plain(root[0]))
    grow(trunk, root)
    console.print(trunk)


def print_line(line: str = "") -> None:
    """Print a line."""
    click.echo(visible(line, lines=True))


def print_warning(problem: str) -> None:
    """Print a warning on standard error."""
    click.echo(visible(f"warning: {problem}", lines=True), err=True)


def _plain(text: str) -> Text:
    """Text in which rich finds no markup and no emoji."""
    return Text(visible(text))


def standard_console() -> Console:
    """Standard output for tables: as wide as the terminal, and of one width elsewhere."""
    console = Console(file=sys.stdout, highlight=False)  # named, so that rich knows its encoding
    if not console.is_terminal:
        console.width = 160  # a file or pipe has no width to wrap at
    return console
