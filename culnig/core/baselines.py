"""Is a condition lower than random baselines? Both its questions and its baselines are samples.

N random sets of neurons differ in effect, so their mean is not known exactly: a test that takes it as exact
rejects true null hypotheses far too often. The prediction t asks instead whether the condition is lower than
one more random set would be: t = (condition − mean) / (s · √(1 + 1/N)) with N − 1 degrees of freedom, s the
standard deviation of the baselines' means (Geisser, Predictive Inference, 1993). See docs/method.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from culnig.core.statistics import (
    ROUNDING,
    bootstrap_lower_p,
    detectable,
    paired_differences,
    t_quantile,
)


@dataclass(frozen=True)
class AgainstRandom:
    """A condition against several random baselines over the same items."""

    n: int
    """Items."""
    n_units: int
    """Independent units."""
    n_random: int
    """Random baselines."""
    effect: float
    """Condition − mean of the random baselines."""
    interval: tuple[float, float]
    """95 % prediction interval: effect ∓ t₀.₉₇₅(N − 1) · standard error. NaN if the baselines do not vary."""
    p_value: float
    """One-sided prediction t: the condition is lower than another random set. The rank p where the baselines
    do not vary, and for a single one."""
    standard_error: float
    """s · √(1 + 1/N) of the N baselines. NaN for a single one."""
    effect_size: float
    """Effect in standard deviations of a unit's difference to the mean of the baselines. NaN if nothing
    varies."""
    detectable: float
    """Smallest fall that 80 % of such samples would detect at the one-sided 5 % level:
    (t₀.₉₅ + t₀.₈) · standard error. NaN if the baselines do not vary."""
    empirical_p: float
    """Rank p: (1 + number of random baselines at or below the condition) / (1 + number of baselines)."""
    least_empirical_p: float
    """The least rank p that so many baselines can give, 1 / (1 + number of baselines)."""
    questions_p: float
    """Sign-flip test of the units, one-sided: lower than exactly these baselines. It says nothing about
    other random sets."""
    bootstrap_p: float
    """The paper's test, which also takes the mean of the baselines as exact: share of bootstrap samples of
    the units in which the condition is not lower, with one added to numerator and denominator. NaN for a
    single unit."""


def against_random(
    condition: NDArray[Any], random: NDArray[Any], units: NDArray[np.object_], *, seed: int = 0
) -> list[AgainstRandom]:
    """Is the condition lower than random baselines? One result per metric.

    `condition` is (metric, item), `random` (metric, baseline, item), `units` (item,).
    """
    condition = np.asarray(condition, dtype=np.float64)
    random = np.asarray(random, dtype=np.float64)
    differences = condition - random.mean(axis=1)
    compared = paired_differences(differences, units, alternative="less", seed=seed)
    p_bootstrap = bootstrap_lower_p(differences, units, seed)
    n_random, nan = random.shape[1], float("nan")
    means, own = random.mean(axis=2), condition.mean(axis=1)
    as_low = np.sum(means <= own[:, np.newaxis] + ROUNDING, axis=1)
    spreads = means.std(axis=1, ddof=1) if n_random > 1 else np.full(len(means), nan)
    errors = spreads * np.sqrt(1 + 1 / n_random)
    effects = np.array([difference.effect for difference in compared])
    with np.errstate(all="ignore"):  # of baselines that do not vary, whose p is another
        lowers = stats.t.cdf(effects / errors, n_random - 1)
    results = []
    for metric, difference in enumerate(compared):
        error, varies = float(errors[metric]), bool(spreads[metric] > ROUNDING)
        rank_p = (1 + int(as_low[metric])) / (1 + n_random)
        half = t_quantile(0.975, n_random - 1) * error if varies else nan
        lower = float(lowers[metric]) if varies else rank_p
        results.append(
            AgainstRandom(
                n=difference.n,
                n_units=difference.n_units,
                n_random=n_random,
                effect=difference.effect,
                interval=(difference.effect - half, difference.effect + half),
                p_value=lower,
                standard_error=error,
                effect_size=difference.effect_size,
                detectable=detectable(error, n_random - 1, 0.95) if varies else nan,
                empirical_p=rank_p,
                least_empirical_p=1 / (1 + n_random),
                questions_p=difference.p_value,
                bootstrap_p=p_bootstrap[metric],
            )
        )
    return results
