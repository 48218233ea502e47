"""A benchmark's batches in portions: the unit that one process scores, saves and resumes.

Portions follow from the batches alone, never from the number of processes. Each has sums of its own, which
are added in order, so one process and many give the same bits.

Several processes should all be busy until the end. Each therefore takes a stretch of the row of all portions,
as long as the others'. A portion that lies on a border is handed over from the process before it, which works
on it first of all, to the process after it, which works on it last: nobody waits, as long as a portion is no
longer than a stretch (the wrap-around rule of McNaughton, 1959). A longer one would be no faster with more
processes, so stretches are as long as it is, and some processes may get none. Runs of processes that run in
turns (`culnig.models.sharding`) have more portions, so that this happens beyond 64 processes only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

MOST_PORTIONS = 12
_LEAST_BATCHES = 8
MOST_IN_TURNS = 64
"""Processes that can be busy until the end where they run in turns."""


def split_batches(
    n_batches: int, most: int = MOST_PORTIONS, start: int = 0, longest: int | None = None
) -> list[range]:
    """Numbers of the batches of each portion, in order, of nearly equal size; at least one portion.

    The first batch has the number `start`. With `longest` there are as many portions as keep each within so
    many batches, else at most `most`.
    """
    count = min(most, max(1, n_batches // _LEAST_BATCHES))
    if longest is not None:
        count = max(1, math.ceil(n_batches / longest))
    bounds = [start + n_batches * number // count for number in range(count + 1)]
    return [range(begin, end) for begin, end in pairwise(bounds)]


def batches_in_turns(n_batches: int) -> int:
    """Batches of the longest portion of a run in turns that has `n_batches` in all."""
    return max(1, n_batches // MOST_IN_TURNS)


class Piece(NamedTuple):
    """Batches of one portion that one process scores in a row."""

    portion: int
    begin: int
    """The first batch, counted within the portion."""
    end: int
    is_rest: bool = False
    """Whether the process before this one scores batches of the portion first."""


def stretches(lengths: Sequence[int], done: Sequence[int], of: int) -> list[list[Piece]]:
    """The pieces of each process, in the order in which it works on them.

    `lengths` are the batches of each portion, of which the first `done` are scored already.
    """
    left = [length - own for length, own in zip(lengths, done, strict=True)]
    pieces: list[list[Piece]] = [[] for _ in range(of)]
    for number, (begin, end) in enumerate(pairwise(_borders(sum(left), max(left, default=0), of))):
        start = 0
        for portion, n_left in enumerate(left):
            first, last = max(begin - start, 0), min(end - start, n_left)
            if first < last:
                pieces[number].append(Piece(portion, done[portion] + first, done[portion] + last, first > 0))
            start += n_left
        pieces[number].sort(key=lambda own: (own.is_rest, own.end == lengths[own.portion]))
    return pieces


def _borders(total: int, longest: int, of: int) -> list[int]:
    """Where stretches begin and end in a row of `total` batches, whose longest portion has `longest`."""
    if longest <= total // of:
        return [total * number // of for number in range(of + 1)]
    stretch = max(longest, math.ceil(total / of))
    return [min(total, stretch * number) for number in range(of + 1)]
