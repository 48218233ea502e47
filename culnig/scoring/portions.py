"""A benchmark's batches in portions: the unit that one process scores, saves and resumes.

Portions follow from the batches alone, never from the number of processes. Each has sums of its own, which
are added in order, so one process and many give the same bits.
"""

from __future__ import annotations

from itertools import pairwise

MOST_PORTIONS = 12
_LEAST_BATCHES = 8


def split_batches(n_batches: int, most: int = MOST_PORTIONS, start: int = 0) -> list[range]:
    """Numbers of the batches of each portion, in order, of nearly equal size; at least one portion.

    The first batch has the number `start`.
    """
    count = min(most, max(1, n_batches // _LEAST_BATCHES))
    bounds = [start + n_batches * number // count for number in range(count + 1)]
    return [range(begin, end) for begin, end in pairwise(bounds)]
