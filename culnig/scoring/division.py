"""A run's portions divided between processes: whole, or in pieces where the processes run in turns."""

from __future__ import annotations

from collections.abc import Mapping

from culnig.core.processes import Processes
from culnig.scoring.portions import Piece, stretches
from culnig.scoring.scoring import Scoring
from culnig.store.writer import Portion, RunWriter


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
