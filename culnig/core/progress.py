"""Callbacks with which long work reports progress, and messages worth showing."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Called with a task's name, the steps done and all its steps: once with 0 done, then after each batch.

An exception that it raises stops the work; finished parts are kept, so the work can be resumed.
"""

Say = Callable[[str], None]
"""Called with a line worth showing."""


def no_progress(task: str, done: int, total: int) -> None:
    """Report nothing."""


def say_nothing(line: str) -> None:
    """Show nothing."""


class Task:
    """Counts the steps of one task for a callback."""

    def __init__(self, progress: Progress, name: str, total: int) -> None:
        self._progress = progress
        self.name, self.total, self.done = name, total, 0
        progress(name, 0, total)

    def advance(self, steps: int = 1) -> None:
        """Report that so many more steps are done."""
        self.done += steps
        self._progress(self.name, self.done, self.total)
