"""Printing on standard output: tables for people, a JSON document for scripts.

Names from files are text here: no markup, no control characters (`visible`).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from culnig.core.text import harmless_json, visible
from culnig.core.text import size_text as size_text

Cell = str | int | float | None


def print_json(document: Any) -> None:
    """Print one JSON document: UTF-8 where the output takes it, else escapes."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    plain = encoding.lower().replace("-", "") != "utf8"
    click.echo(harmless_json(json.dumps(document, indent=1, ensure_ascii=plain)))


def print_table(title: str, headings: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
    """Print a table; numbers are aligned right."""
    table = Table(title=_plain(title), title_justify="left", title_style="bold")
    for column, heading in enumerate(headings):
        numeric = any(isinstance(row[column], int | float) for row in rows)
        table.add_column(_plain(heading), justify="right" if numeric else "left")
    for row in rows:
        table.add_row(*(_plain(_text(cell)) for cell in row))
    standard_console().print(table)


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


def _text(cell: Cell) -> str:
    if cell is None:
        return "–"
    if isinstance(cell, float):
        return f"{cell:.4f}"
    return f"{cell:,}" if isinstance(cell, int) else cell


def percent(share: float | None) -> str:
    """A share as a percentage with one decimal; a dash for None."""
    return "–" if share is None else f"{100 * share:.1f} %"


def p_text(p: float) -> str:
    """A p-value, three decimals or a bound."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
