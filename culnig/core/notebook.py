"""Objects in notebooks: as HTML, as tables of optional packages, and progress that a cell shows."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from html import escape
from typing import Any

from culnig.core.quantities import number
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
    return number(cell) if isinstance(cell, float) else f"{cell}"


def optional_package(name: str) -> Any:
    """An optional package; EnvironmentProblem if it is not installed."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        raise EnvironmentProblem(f"this needs the package {name}; run `pip install {name}`") from None


class NotebookProgress:
    """A callback for `progress` that draws a bar for each task below the cell, in one place.

    EnvironmentProblem outside a notebook that has IPython.
    """

    def __init__(self) -> None:
        self._display = optional_package("IPython.display")
        self._tasks: dict[str, tuple[int, int]] = {}
        self._handle: Any = None

    def __call__(self, name: str, done: int, total: int) -> None:
        """Show the progress of a task."""
        self._tasks[name] = (done, total)
        shown = self._display.HTML(self.html())
        if self._handle is None:
            self._handle = self._display.display(shown, display_id=True)
        else:
            self._handle.update(shown)

    def html(self) -> str:
        """The bars of all tasks."""
        return "".join(
            f'<div><progress value="{done}" max="{total}"></progress> {escape(visible(name))}: '
            f"{done:,}/{total:,}</div>"
            for name, (done, total) in self._tasks.items()
        )
