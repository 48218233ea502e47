"""Objects in notebooks: as HTML, and as tables of optional packages."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from html import escape
from typing import Any

from culnig.core.text import visible
from culnig.errors import EnvironmentProblem

Cell = str | int | float | None


def html_table(caption: str, headings: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    """A table with every text escaped, control characters too."""
    head = "".join(f"<th>{escape(visible(heading))}</th>" for heading in headings)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(visible(_text(cell)))}</td>" for cell in row) + "</tr>" for row in rows
    )
    return (
        f"<table><caption>{escape(visible(caption))}</caption><thead><tr>{head}</tr></thead>"
        f"<tbody>{body}</tbody></table>"
    )


def _text(cell: Cell) -> str:
    if cell is None:
        return "–"
    return f"{cell:.4g}" if isinstance(cell, float) else f"{cell}"


def optional_package(name: str) -> Any:
    """An optional package; EnvironmentProblem if it is not installed."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        raise EnvironmentProblem(f"this needs the package {name}; run `pip install {name}`") from None
