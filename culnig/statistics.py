"""Statistics glue: everything here is scipy, put on the right axis and the right unit.

Items of one question in one culture share most of their text, so the independent unit is (culture,
question), not the item. Tests flip or resample whole units; effects are differences of item means.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from culnig.errors import InputError

Alternative = Literal["two-sided", "less", "greater"]

RESAMPLES = 9_999
_ROUNDING = 1e-12
"""Differences of probabilities below this are rounding of float64 means."""
_BATCH = 500
"""Resamples held in memory at once."""


def zscores_over_cultures(difference: NDArray[np.float64]) -> NDArray[np.float64]:
    """z = (d − mean)/std over cultures, population standard deviation, 0 where std = 0 (METHOD §4).

    `difference` and the result are (culture, neuron).
    """
    if difference.shape[1] == 0:
        return np.zeros_like(difference)
    with warnings.catch_warnings():  # of nearly equal cultures; their z is 0 or a number, as defined
        warnings.simplefilter("ignore", RuntimeWarning)
        z = stats.zscore(difference, axis=0, ddof=0)
    return np.where((np.ptp(difference, axis=0) == 0) | ~np.isfinite(z), 0.0, z)


@dataclass(frozen=True)
class PairedDifference:
    """A paired comparison of two conditions over the same items."""

    n: int
    """Items."""
    n_units: int
    """Independent units."""
    effect: float
    """Mean over items of second − first."""
    interval: tuple[float, float]
    """95 % interval of the effect: percentile bootstrap over units. NaN with a single unit."""
    p_value: float
    """Permutation test: the sign of each unit's difference is flipped."""


def paired_difference(
    first: NDArray[Any],
    second: NDArray[Any],
    units: NDArray[np.object_],
    *,
    alternative: Alternative = "two-sided",
    seed: int = 0,
) -> PairedDifference:
    """Compare two conditions item by item; all arrays are (item,). InputError where there is no item."""
    difference = np.asarray(second, dtype=np.float64) - np.asarray(first, dtype=np.float64)
    if len(difference) == 0:
        raise InputError("no items to compare; the benchmark has none after --limit, --culture or --split")
    _, unit_of = np.unique(units.astype(str), return_inverse=True)
    sizes = np.bincount(unit_of).astype(np.float64)
    sums: NDArray[np.float64] = np.bincount(unit_of, weights=difference).astype(np.float64)
    return PairedDifference(
        n=len(difference),
        n_units=len(sizes),
        effect=float(difference.mean()),
        interval=_interval(sums, sizes, seed),
        p_value=_sign_flip_p(sums, alternative, seed),
    )


def _sign_flip_p(sums: NDArray[np.float64], alternative: Alternative, seed: int) -> float:
    noise = 1e-12 * np.abs(sums).max(initial=0.0)
    sums = sums[np.abs(sums) > max(noise, _ROUNDING)]  # flipping a zero changes nothing: enumerate the rest
    if not sums.size:
        return 1.0
    if sums.size == 1:  # scipy wants two observations; a zero doubles every pattern
        sums = np.append(sums, 0.0)
    sums = sums / np.abs(sums).max()
    result = stats.permutation_test(
        (sums,),
        lambda sample, axis: np.round(sample.sum(axis=axis), 9),  # equal patterns tie despite rounding
        permutation_type="samples",
        vectorized=True,
        n_resamples=RESAMPLES,
        batch=_BATCH,
        alternative=alternative,
        rng=np.random.default_rng(seed),
    )
    return min(1.0, float(result.pvalue))


def _interval(sums: NDArray[np.float64], sizes: NDArray[np.float64], seed: int) -> tuple[float, float]:
    if len(sums) < 2:
        return (float("nan"), float("nan"))
    result = stats.bootstrap(
        (sums, sizes),
        lambda sum_, size, axis: sum_.sum(axis=axis) / size.sum(axis=axis),
        paired=True,
        vectorized=True,
        n_resamples=RESAMPLES,
        batch=_BATCH,
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    return (float(result.confidence_interval.low), float(result.confidence_interval.high))


@dataclass(frozen=True)
class AgainstRandom:
    """A condition against several random baselines over the same items."""

    n_random: int
    difference: PairedDifference
    """Condition − mean of the random baselines; one-sided p: the condition is lower."""
    empirical_p: float
    """(1 + random baselines that are as low or lower) / (1 + random baselines)."""


def against_random(
    condition: NDArray[Any], random: NDArray[Any], units: NDArray[np.object_], *, seed: int = 0
) -> AgainstRandom:
    """Is the condition lower than random? `condition` is (item,), `random` is (baseline, item)."""
    random = np.asarray(random, dtype=np.float64)
    means, own = random.mean(axis=1), float(np.mean(condition))
    as_low = int(np.sum(means <= own + 1e-12))
    return AgainstRandom(
        n_random=len(random),
        difference=paired_difference(random.mean(axis=0), condition, units, alternative="less", seed=seed),
        empirical_p=(1 + as_low) / (1 + len(random)),
    )
