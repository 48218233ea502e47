"""Paired comparisons of two conditions over the same items; the question is the independent unit.

The rows, wordings and cultures of one question share most of their text, so items are not independent. The
tests flip the signs of whole questions; effects are differences of item means. Intervals are t(K − 1) times
the clustered standard error of K questions, which covers what it should where a percentile bootstrap of few
questions does not. Distributions come from scipy. See docs/method.md, Statistics.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from culnig.errors import InputError, argument

Alternative = Literal["two-sided", "less", "greater"]

RESAMPLES = 9_999
LEAST_UNITS = 6
"""Fewest units of which a two-sided sign-flip test can reach 5 %: its least p is 2 / 2^units."""
ROUNDING = 1e-12
"""Smaller differences of probabilities are rounding errors of float64 means."""
_BATCH = 500
"""Resamples held in memory at once."""
_KEPT_SIGNS = 1_000_000
"""Most signs of resamples that are kept for the next comparison of as many units."""


def zscores_over_cultures(difference: NDArray[np.float64]) -> NDArray[np.float64]:
    """z = (d − mean)/std over cultures, population standard deviation, 0 where std = 0.

    See docs/method.md, Culture-specific neurons.

    `difference` and the result are (culture, neuron).
    """
    if difference.shape[1] == 0:
        return np.zeros_like(difference)
    with warnings.catch_warnings():  # about nearly equal cultures, whose z is 0 or finite below
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
    """95 % interval of the effect: t₀.₉₇₅(K − 1) · standard error, K units. NaN if nothing varies."""
    bootstrap_interval: tuple[float, float]
    """95 % percentile bootstrap over units: better than `interval` for skewed values of many units, too
    narrow for fewer than about 24. NaN if nothing varies."""
    p_value: float
    """Permutation test that flips the sign of each unit's difference."""
    standard_error: float
    """Cluster-robust (sandwich) standard error of the effect. NaN for a single unit."""
    effect_size: float
    """Effect in standard deviations of a unit: effect / (standard error · √units). NaN if nothing varies."""
    detectable: float
    """Smallest effect that 80 % of such samples would detect at the two-sided 5 % level:
    (t₀.₉₇₅ + t₀.₈) · standard error, with K − 1 degrees of freedom; for six units, of which all must agree,
    4.39 · standard error. NaN if nothing varies, and for five units or fewer: no sign-flip test of them
    reaches 5 %."""


def paired_difference(
    first: NDArray[Any],
    second: NDArray[Any],
    units: NDArray[np.object_],
    *,
    alternative: Alternative = "two-sided",
    seed: int = 0,
) -> PairedDifference:
    """Compare two conditions item by item; all arrays are (item,). InputError without items."""
    difference = np.asarray(second, dtype=np.float64) - np.asarray(first, dtype=np.float64)
    return paired_differences(difference[np.newaxis], units, alternative=alternative, seed=seed)[0]


def paired_differences(
    differences: NDArray[Any],
    units: NDArray[np.object_],
    *,
    alternative: Alternative = "two-sided",
    seed: int = 0,
) -> list[PairedDifference]:
    """Compare two conditions in several metrics at once, with the same resamples.

    `differences` is (metric, item), second − first; `units` is (item,). InputError without items.
    """
    sums, sizes = _unit_sums(np.asarray(differences, dtype=np.float64), units)
    intervals = _bootstrap_intervals(sums, sizes, seed)
    p_values = _sign_flip_ps(sums, alternative, seed)
    n_units, nan = len(sizes), float("nan")
    results = []
    for total, bootstrap, p_value in zip(sums, intervals, p_values, strict=True):
        effect = float(total.sum() / sizes.sum())
        error = _standard_error(total, sizes)
        varies = error > ROUNDING
        half = t_quantile(0.975, n_units - 1) * error if varies else nan
        results.append(
            PairedDifference(
                n=int(sizes.sum()),
                n_units=n_units,
                effect=effect,
                interval=(effect - half, effect + half),
                bootstrap_interval=bootstrap if varies else (nan, nan),
                p_value=p_value,
                standard_error=error,
                effect_size=effect / (error * np.sqrt(n_units)) if varies else nan,
                detectable=_detectable_change(error, n_units) if varies else nan,
            )
        )
    return results


def mean_interval(values: NDArray[Any], units: NDArray[np.object_]) -> tuple[float, tuple[float, float]]:
    """Mean over items and its 95 % interval over units, as in `PairedDifference`; NaN for a single unit.

    Where all items have the same value, nothing tells how another sample would differ: it is NaN too.
    """
    (sums,), sizes = _unit_sums(np.asarray(values, dtype=np.float64)[np.newaxis], units)
    mean, error = float(sums.sum() / sizes.sum()), _standard_error(sums, sizes)
    half = t_quantile(0.975, len(sizes) - 1) * error if error > ROUNDING else float("nan")
    return mean, (mean - half, mean + half)


@functools.lru_cache(1024)
def t_quantile(probability: float, degrees: int) -> float:
    """Quantile of Student's t; NaN without a degree of freedom."""
    return float(stats.t.ppf(probability, degrees)) if degrees > 0 else float("nan")


def detectable(error: float, degrees: int, level: float = 0.975) -> float:
    """The effect whose estimate exceeds the `level` quantile of t in 80 % of samples: (t + t₀.₈) · error."""
    return (t_quantile(level, degrees) + t_quantile(0.8, degrees)) * error


def _detectable_change(error: float, n_units: int) -> float:
    """`detectable` of the two-sided sign-flip test.

    It cannot reach 5 % with fewer units than LEAST_UNITS. With just as many it does only where all have the
    same sign, which with the mean δ and the deviation σ of normal units has the probability Φ(δ/σ)^units.
    """
    if n_units < LEAST_UNITS:
        return float("nan")
    if n_units == LEAST_UNITS:
        return float(stats.norm.ppf(0.8 ** (1 / n_units)) * np.sqrt(n_units) * error)
    return detectable(error, n_units - 1)


def _unit_sums(
    differences: NDArray[np.float64], units: NDArray[np.object_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sum of the differences of each unit (metric, unit), and items of each unit (unit,)."""
    if differences.shape[1] == 0:
        raise InputError(
            f"no items to compare: {argument('limit')}, {argument('cultures')} or {argument('split')} leave "
            "no items of this benchmark; choose more"
        )
    _, unit_of = np.unique(units.astype(str), return_inverse=True)
    sizes = np.bincount(unit_of).astype(np.float64)
    sums = np.stack([np.bincount(unit_of, weights=row) for row in differences])
    return sums.astype(np.float64), sizes


def _standard_error(sums: NDArray[np.float64], sizes: NDArray[np.float64]) -> float:
    """Standard error of a mean over clustered items: √(K/(K−1) Σ (sum − effect·size)²) / n."""
    k, n = len(sizes), sizes.sum()
    if k < 2:
        return float("nan")
    residuals = sums - sums.sum() / n * sizes
    return float(np.sqrt(k / (k - 1) * np.sum(residuals**2)) / n)


def _sign_flip_ps(sums: NDArray[np.float64], alternative: Alternative, seed: int) -> list[float]:
    """Of each row of (metric, unit); rows with as many zeros follow each other, and share their signs."""
    p_values = [1.0] * len(sums)
    for row in np.argsort(np.count_nonzero(sums, axis=1), kind="stable"):
        p_values[row] = _sign_flip_p(sums[row], alternative, seed)
    return p_values


def _sign_flip_p(sums: NDArray[np.float64], alternative: Alternative, seed: int) -> float:
    noise = 1e-12 * np.abs(sums).max(initial=0.0)
    sums = sums[np.abs(sums) > max(noise, ROUNDING)]  # flipping a zero changes nothing
    if not sums.size:
        return 1.0
    sums = sums / np.abs(sums).max()
    observed = round(float(sums.sum()), 9)  # so that equal patterns tie despite rounding errors
    exact = 2**sums.size <= RESAMPLES
    patterns = _all_signs(sums.size) if exact else _random_signs(sums.size, seed)
    lower = higher = drawn = 0
    for signs in patterns:
        totals = np.round(signs @ sums, 9)
        lower += int(np.sum(totals <= observed))
        higher += int(np.sum(totals >= observed))
        drawn += len(totals)
    add = 0 if exact else 1  # the observed sample counts as one of the patterns
    less, greater = (lower + add) / (drawn + add), (higher + add) / (drawn + add)
    return {"less": less, "greater": greater, "two-sided": min(1.0, 2 * min(less, greater))}[alternative]


@functools.lru_cache(2)
def _all_signs(n: int) -> tuple[NDArray[np.float64], ...]:
    numbers = np.arange(2**n)[:, np.newaxis]
    return (np.where(numbers >> np.arange(n) & 1, -1.0, 1.0),)


def _random_signs(n: int, seed: int) -> Iterable[NDArray[np.float64]]:
    return _kept_signs(n, seed, RESAMPLES) if n * RESAMPLES <= _KEPT_SIGNS else _drawn_signs(n, seed)


@functools.lru_cache(2)
def _kept_signs(n: int, seed: int, resamples: int) -> tuple[NDArray[np.float64], ...]:
    return tuple(_drawn_signs(n, seed))


def _drawn_signs(n: int, seed: int) -> Iterator[NDArray[np.float64]]:
    generator = np.random.default_rng(seed)
    for size in _batches():
        yield np.where(generator.integers(2, size=(size, n), dtype=np.int8), -1.0, 1.0)


def _batches() -> Iterator[int]:
    for done in range(0, RESAMPLES, _BATCH):
        yield min(_BATCH, RESAMPLES - done)


def _bootstrap_means(sums: NDArray[np.float64], sizes: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    """Mean over items in each resample of the units, shape (metric, resample)."""
    generator = np.random.default_rng(seed)
    k = len(sizes)
    columns = np.column_stack([sums.T, sizes])
    means = []
    for size in _batches():
        drawn = generator.integers(k, size=(size, k)) + k * np.arange(size)[:, np.newaxis]
        times = np.bincount(drawn.ravel(), minlength=size * k).reshape(size, k)
        totals = times.astype(np.float64) @ columns
        means.append(totals[:, :-1] / totals[:, -1:])
    return np.asarray(np.concatenate(means).T, dtype=np.float64)


def _bootstrap_intervals(
    sums: NDArray[np.float64], sizes: NDArray[np.float64], seed: int
) -> list[tuple[float, float]]:
    if len(sizes) < 2:
        return [(float("nan"), float("nan"))] * len(sums)
    ends = np.percentile(_bootstrap_means(sums, sizes, seed), (2.5, 97.5), axis=1)
    return [(float(low), float(high)) for low, high in ends.T]


def bootstrap_lower_p(differences: NDArray[np.float64], units: NDArray[np.object_], seed: int) -> list[float]:
    """One-sided p of each row of (metric, item): share of bootstrap samples of the units not below zero.

    One is added to numerator and denominator; NaN for a single unit.
    """
    sums, sizes = _unit_sums(differences, units)
    if len(sizes) < 2:
        return [float("nan")] * len(sums)
    not_lower = np.sum(_bootstrap_means(sums, sizes, seed) >= -ROUNDING, axis=1)
    return [(1 + int(count)) / (1 + RESAMPLES) for count in not_lower]


@dataclass(frozen=True)
class McNemar:
    """McNemar's test on correct and wrong answers, over units."""

    lost: int
    """Units that lost more correct answers than they gained."""
    won: int
    """Units that gained more correct answers than they lost."""
    exact_p: float
    """Two-sided exact binomial test of lost against won."""
    mid_p: float
    """The same test with half the probability of the observed split; less conservative."""


def mcnemar(first: NDArray[Any], second: NDArray[Any], units: NDArray[np.object_]) -> McNemar:
    """McNemar's test of two conditions; `first` and `second` are (item,), true for a correct answer.

    Each unit has one vote, the sign of its lost minus its won answers. If every item is its own unit, this is
    the classic test; on clustered items the classic test would count near-copies as independent evidence.
    """
    changes = np.asarray(second, dtype=np.float64) - np.asarray(first, dtype=np.float64)
    votes = _unit_sums(changes[np.newaxis], units)[0][0]
    lost, won = int(np.sum(votes < 0)), int(np.sum(votes > 0))
    return McNemar(lost, won, *_mcnemar_p(min(lost, won), lost + won))


@functools.lru_cache(1024)
def _mcnemar_p(fewer: int, n: int) -> tuple[float, float]:
    """Exact and mid p of `fewer` votes of `n` on one side."""
    if n == 0:
        return 1.0, 1.0
    at_most, observed = float(stats.binom.cdf(fewer, n, 0.5)), float(stats.binom.pmf(fewer, n, 0.5))
    return min(1.0, 2 * at_most), 1.0 if 2 * fewer == n else 2 * at_most - observed


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment, which controls the chance of any false positive."""
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    adjusted = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    in_given_order = np.empty_like(p)
    in_given_order[order] = np.minimum(adjusted, 1.0)
    return [float(value) for value in in_given_order]
