"""The cut that all selections share: the best of a pool, minus the best of the same pool by another score.

Counts are int(fraction × pool size). Exclusion comes after the cut and the cut is not refilled (METHOD §3).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from culnig import kernels
from culnig.errors import SelectionError


@dataclass(frozen=True)
class Cut:
    """What a cut of one pool gave."""

    kept: NDArray[np.int64]
    """Flat positions, best first."""
    n_pool: int
    n_before_exclusion: int


def check_fraction(name: str, fraction: float) -> None:
    """SelectionError where a fraction is not between 0 and 1."""
    if not 0 <= fraction <= 1:
        raise SelectionError(f"{name} is {fraction}; a fraction of the pool, from 0 to 1, is needed")


def cut_pool(
    pool: NDArray[np.int64],
    score: NDArray[np.float64],
    fraction: float,
    exclusion: NDArray[np.float64] | None,
    exclusion_fraction: float,
) -> Cut:
    """Cut one pool. `score` and `exclusion` are (neuron,) over the whole layout; `pool` holds positions."""
    count = int(fraction * len(pool))
    [[ranked]] = kernels.rank(
        score[np.newaxis],
        pools=[pool],
        counts=[count],
        exclusion=None if exclusion is None else exclusion[np.newaxis],
        exclusion_counts=None if exclusion is None else [int(exclusion_fraction * len(pool))],
    )
    return Cut(ranked.indices, len(pool), count)
