"""Progress of long work, on standard error: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from culnig.cli import interruption
from culnig.core.text import visible

LINE_SECONDS = 15.0
"""Minimum time between two lines of one task, if the output is not a terminal."""


class ProgressView:
    """Shows named tasks; its methods are the callbacks `progress` and `say` of the library."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}
        self._last_line: dict[str, float] = {}

    def progress(self, name: str, done: int, total: int) -> None:
        """Show the progress of a task; a new name starts a new one. KeyboardInterrupt if one was lost."""
        interruption.check()
        if name not in self._tasks:
            self._tasks[name] = self._bars.add_task(visible(name), total=total)
        self._bars.update(self._tasks[name], completed=done)
        if self._console.is_terminal or done == 0:
            return
        now = time.monotonic()
        if done >= total or now - self._last_line.get(name, 0.0) >= LINE_SECONDS:
            self._last_line[name] = now
            self.say(f"{name}: {done}/{total}")

    def say(self, line: str) -> None:
        """Print a line beside the bars."""
        self._console.print(Text(visible(line, lines=True)), highlight=False)


@contextmanager
def progress_view(*, quiet: bool = False) -> Iterator[ProgressView]:
    """A view for as long as the context lasts; a `quiet` one shows nothing."""
    view = ProgressView(Console(file=sys.stderr, stderr=True, quiet=quiet))
    with view._bars:
        yield view
