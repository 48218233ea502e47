"""The scores that a culture's neurons are ranked by, from target − control of all cultures.

| ranking | score of culture c, with d = target − control |
|---|---|
| difference | d(c), as in the paper |
| margin | d(c) − mean |
| shrunken-z | (d(c) − mean) / (sd + s₀): standard deviations above the mean |
| share | d(c) / (Σ absolute d + s₀): the part of the neuron's scores that is the culture's |

Mean, sd and Σ are over cultures. Neurons that hardly score anywhere have a tiny sd and Σ, and would come
first by chance; s₀, a quantile of sd or Σ over the neurons of the pool, keeps them down (the fudge factor of
SAM: Tusher, Tibshirani and Chu, PNAS 2001).
"""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from culnig.errors import SelectionError, argument, option

RankBy = Literal["difference", "margin", "shrunken-z", "share"]
SHRUNKEN: tuple[RankBy, ...] = ("shrunken-z", "share")
"""Rankings with s₀."""
SHRINK = 0.5
"""Default quantile that is s₀."""


class CultureScores(NamedTuple):
    """Scores that one culture's neurons are ranked by."""

    scores: NDArray[np.float64]
    """(neuron,), over the whole layout."""
    s0: float | None
    """What was added to the spread; None for a ranking without it."""


def check_ranking(rank_by: RankBy, shrink: float | None) -> None:
    """SelectionError for an unknown ranking, or a quantile that it has no use for or that is none."""
    if rank_by not in get_args(RankBy):
        raise SelectionError(f"rank_by is {rank_by!r}; allowed are {', '.join(get_args(RankBy))}")
    if shrink is None:
        return
    if rank_by not in SHRUNKEN:
        raise SelectionError(
            f"{argument('shrink')} belongs to {option('rank_by', SHRUNKEN[0])} and "
            f"{option('rank_by', SHRUNKEN[1])}, not to {rank_by!r}; leave it out or choose one of them"
        )
    if not 0 <= shrink <= 1:
        raise SelectionError(f"shrink is {shrink}; give a quantile from 0 to 1, such as {SHRINK:g}")


def culture_scores(
    difference: NDArray[np.float64],
    row: int,
    rank_by: RankBy = "difference",
    pool: NDArray[np.int64] | None = None,
    shrink: float | None = None,
) -> CultureScores:
    """Ranking scores of the culture in a row of target − control, (culture, neuron).

    `pool` are the flat indices of the neurons whose spread gives s₀, the quantile `shrink` of it; by default
    all. SelectionError if s₀ is 0 and a neuron of the pool does not vary.
    """
    check_ranking(rank_by, shrink)
    own: NDArray[np.float64] = difference[row]
    if rank_by == "difference":
        return CultureScores(own, None)
    if rank_by == "share":
        above, spread, name = own, np.abs(difference).sum(axis=0), "the sum of the absolute scores"
    else:
        above = own - difference.mean(axis=0)
        if rank_by == "margin":
            return CultureScores(above, None)
        spread, name = difference.std(axis=0), "the standard deviation"
    of_pool = spread if pool is None else spread[pool]
    quantile = SHRINK if shrink is None else shrink
    s0 = float(np.quantile(of_pool, quantile)) if of_pool.size else 0.0
    if s0 == 0 and (of_pool == 0).any():
        raise SelectionError(
            f"{name} over the cultures is 0 for {int((of_pool == 0).sum()):,} of {of_pool.size:,} neurons, "
            f"and so is its quantile {quantile:g}, so these neurons have no {rank_by}; use a larger "
            f"{argument('shrink')}, another {argument('pool')} or {option('rank_by', 'margin')}"
        )
    scores = np.divide(above, spread + s0, out=np.zeros_like(own), where=spread + s0 > 0)
    return CultureScores(scores, s0)
