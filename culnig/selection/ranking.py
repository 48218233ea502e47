"""The cut that all selections share: the top of a pool, less the pool's top neurons by exclusion score.

Counts are int(fraction × pool size). Excluded neurons are not replaced by others (docs/method.md,
Culture-general neurons).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from culnig import kernels
from culnig.core.neurons import POOLS
from culnig.errors import SelectionError


@dataclass(frozen=True)
class Cut:
    """The neurons kept of one pool, with the counts that led to them."""

    kept: NDArray[np.int64]
    """Flat indices, best first."""
    n_pool: int
    n_before_exclusion: int


def check_fraction(name: str, fraction: float) -> None:
    """SelectionError if a fraction is not between 0 and 1."""
    if not 0 <= fraction <= 1:
        raise SelectionError(f"{name} is {fraction}; give a fraction of the pool, from 0 to 1")


def check_disjoint(pools: Sequence[str]) -> None:
    """SelectionError if two of the pools share a module, whose neurons would be ranked twice."""
    owner: dict[str, str] = {}
    for pool in pools:
        for module in POOLS.get(pool, (pool,)):
            if module in owner:
                raise SelectionError(
                    f"pools {owner[module]!r} and {pool!r} both contain {module}; choose pools without a "
                    "common module"
                )
            owner[module] = pool


def cut_pool(
    pool: NDArray[np.int64],
    score: NDArray[np.float64],
    fraction: float,
    exclusion: NDArray[np.float64] | None,
    exclusion_fraction: float,
) -> Cut:
    """Cut one pool. `score` and `exclusion` are (neuron,) over the layout, `pool` flat indices."""
    count = int(fraction * len(pool))
    [[ranked]] = kernels.rank(
        score[np.newaxis],
        pools=[pool],
        counts=[count],
        exclusion=None if exclusion is None else exclusion[np.newaxis],
        exclusion_counts=None if exclusion is None else [int(exclusion_fraction * len(pool))],
    )
    return Cut(ranked.indices, len(pool), count)
