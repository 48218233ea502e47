"""Progress of long work, on standard error: bars on a terminal, plain lines elsewhere.

On a terminal, a line with a spinner says what the command does until the first task starts. The clock of a
task starts when the task before it ends, so waiting is not counted; its speed is the average so far.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn
from rich.text import Text

from culnig.cli import interruption
from culnig.core.quantities import number
from culnig.core.text import time_text, visible

LINE_SECONDS = 15.0
"""Minimum time between two lines of one task, if the output is not a terminal."""
AT_ONCE = 0.1
"""Seconds within which no batch is computed."""


@dataclass
class Timed:
    """One task and its clock."""

    total: int
    began: float | None = None
    """None as long as the task waits."""
    done: int = 0
    done_at_first: int = 0
    """Steps that an earlier command had done; they are reported at once."""
    ended: float | None = None

    def state(self, now: float) -> str:
        """Steps, speed and time left, as far as they are known."""
        steps = f"{self.done:,}/{self.total:,}"
        if self.began is None:
            return f"{steps}, waits"
        seconds = (now if self.ended is None else self.ended) - self.began
        made = self.done - self.done_at_first
        if made <= 0 or seconds <= 0:
            return steps
        speed = made / seconds
        left = "" if self.done >= self.total else f", {time_text((self.total - self.done) / speed)} left"
        return f"{steps}, {number(speed)} a second{left}"


class ProgressView:
    """Shows named tasks; its methods are the callbacks `progress` and `say` of the library."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._console, self._clock = console, clock
        self.bars = Progress(
            SpinnerColumn(finished_text=" "),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[state]}", markup=False),
            console=console,
            disable=not console.is_terminal,
        )
        self._rows: dict[str, TaskID] = {}
        self._tasks: dict[str, Timed] = {}
        self._free_since = clock()
        self._last_line: dict[str, float] = {}
        self._opening: TaskID | None = None
        if console.is_terminal:
            self._opening = self.bars.add_task("starting", total=None, state="")

    def progress(self, name: str, done: int, total: int) -> None:
        """Show the progress of a task; a new name starts a new one. KeyboardInterrupt if one was lost."""
        interruption.check()
        now = self._clock()
        task = self._tasks.get(name)
        if task is None:
            self._forget_opening()
            task = self._tasks[name] = Timed(total, done=done, done_at_first=done)
            self._rows[name] = self.bars.add_task(visible(name), total=total, state="")
            self._start_next(now)
        elif done > task.done and task.began is None:  # its turn came before that of an earlier one
            task.began = self._free_since
        if task.done == task.done_at_first and task.began is not None and now - task.began < AT_ONCE:
            task.done_at_first, task.began = done, now
        task.done = done
        if done >= total and task.ended is None:
            task.ended = self._free_since = now
            self._start_next(now)
        self.bars.update(self._rows[name], completed=done, state=task.state(now))
        self._line(name, task, now)

    def _start_next(self, now: float) -> None:
        """Start the clock of the first task that waits, if no other is running."""
        if any(task.began is not None and task.ended is None for task in self._tasks.values()):
            return
        waiting = ((name, task) for name, task in self._tasks.items() if task.began is None)
        for name, task in waiting:
            task.began = now
            self.bars.update(self._rows[name], state=task.state(now))
            return

    def _line(self, name: str, task: Timed, now: float) -> None:
        """A plain line where there are no bars."""
        if self._console.is_terminal or task.done == 0:
            return
        if task.done >= task.total or now - self._last_line.get(name, 0.0) >= LINE_SECONDS:
            self._last_line[name] = now
            self._print(f"{name}: {task.state(now)}")

    def _forget_opening(self) -> None:
        if self._opening is not None:
            self.bars.remove_task(self._opening)
            self._opening = None

    def say(self, line: str) -> None:
        """Print a line beside the bars; before the first task, the spinner's line says it too."""
        if self._opening is not None:
            self.bars.update(self._opening, description=visible(line))
        self._print(line)

    def _print(self, line: str) -> None:
        self._console.print(Text(visible(line, lines=True)), highlight=False, soft_wrap=True)


@contextmanager
def progress_view(*, quiet: bool = False) -> Iterator[ProgressView]:
    """A view for as long as the context lasts; a `quiet` one shows nothing."""
    view = ProgressView(Console(file=sys.stderr, stderr=True, quiet=quiet))
    with view.bars:
        try:
            yield view
        finally:
            view._forget_opening()
