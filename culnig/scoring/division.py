"""A run's portions divided between processes: in stretches of equal length, or whole where they must be."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from culnig.core.processes import Processes
from culnig.errors import EnvironmentProblem
from culnig.scoring.portions import Piece, stretches
from culnig.scoring.scoring import Scoring
from culnig.store.writer import Portion, RunWriter

if TYPE_CHECKING:
    from culnig.models.sharding import Turns

PATIENCE_SECONDS = 600.0
"""How long another process's file may take to be seen on this one's node."""
_LOOK_EVERY = 0.1
"""Seconds."""


def pieces_of(
    scorings: Mapping[str, Scoring], writer: RunWriter, processes: Processes, *, hands_over: bool
) -> list[tuple[str, Piece]]:
    """What this process scores, in order: of which benchmark, and which batches of which of its portions.

    With `hands_over`, portions are shared between processes; all call this before any of them scores.
    """
    portions = [
        (name, portion_of(name, scoring, number))
        for name, scoring in scorings.items()
        for number in range(len(scoring.portions))
    ]
    lengths = [portion.n_batches for _, portion in portions]
    if hands_over:
        done = [writer.batches_done(portion) for _, portion in portions]
        own = stretches(lengths, done, processes.of)[processes.number]
        processes.wait_for_all()
    else:
        own = [Piece(index, 0, n) for index, n in enumerate(lengths) if processes.takes(index)]
    return [
        (portions[piece.portion][0], piece._replace(portion=portions[piece.portion][1].number))
        for piece in own
    ]


def portion_of(name: str, scoring: Scoring, number: int) -> Portion:
    """A portion of the benchmark with that name."""
    n_batches = len(scoring.portions[number])
    return Portion(name, number, len(scoring.portions), n_batches, scoring.half_of_portion[number])


class Handover:
    """Portions that processes hand over to the next."""

    def __init__(self, writer: RunWriter, processes: Processes) -> None:
        self._writer = writer
        self._processes = processes
        self._told: list[Any] = []
        """What is being sent; it must be kept until it has arrived."""

    def give(self) -> None:
        """Tell the next process that a portion is saved for it; only where each works at its own pace."""
        self._told.append(self._processes.tell(self._processes.number + 1))

    def take(
        self, portion: Portion, begin: int, in_turns: AbstractContextManager[Turns] | None = None
    ) -> None:
        """Wait until the process before this one has saved a portion up to batch `begin`.

        `in_turns` opens the turns that go on meanwhile where the processes run in turns. AnotherStopped if
        that process has stopped, EnvironmentProblem if what it saved cannot be seen here.
        """
        if in_turns is not None:
            if self._writer.batches_done(portion) < begin:
                with in_turns as turns:
                    while self._writer.batches_done(portion) < begin:
                        turns.wait()
            return
        self._processes.hear(self._processes.number - 1)
        until = time.monotonic() + PATIENCE_SECONDS
        while self._writer.batches_done(portion) < begin:
            if time.monotonic() > until:
                raise EnvironmentProblem(
                    f"process {self._processes.number - 1} has saved portion {portion.number} of "
                    f"{portion.benchmark!r}, but process {self._processes.number} does not see it in "
                    f"{self._writer.folder}; all processes must see the same run folder"
                )
            time.sleep(_LOOK_EVERY)
