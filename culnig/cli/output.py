"""Printing on standard output: tables for people, a JSON document for scripts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from culnig.core.text import size_text as size_text

Cell = str | int | float | None


def print_json(document: Any) -> None:
    """Print one JSON document."""
    click.echo(json.dumps(document, indent=1, ensure_ascii=False))


def print_table(title: str, headings: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
    """Print a table; numbers are aligned right."""
    table = Table(title=title, title_justify="left", title_style="bold")
    for column, heading in enumerate(headings):
        numeric = any(isinstance(row[column], int | float) for row in rows)
        table.add_column(heading, justify="right" if numeric else "left")
    for row in rows:
        table.add_row(*(_text(cell) for cell in row))
    _console().print(table)


def print_tree(title: str, root: tuple[str, list[Any]]) -> None:
    """Print a tree of (label, branches)."""

    def grow(tree: Tree, node: tuple[str, list[Any]]) -> None:
        for branch in node[1]:
            grow(tree.add(Text(branch[0])), branch)

    console = _console()
    console.print(Text(title, style="bold"))
    trunk = Tree(Text(root[0]))
    grow(trunk, root)
    console.print(trunk)


def print_line(line: str = "") -> None:
    """Print a line."""
    click.echo(line)


def _console() -> Console:
    console = Console(highlight=False)
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
