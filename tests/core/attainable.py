"""What tests of few values can attain at a nominal 5 %, by formulas of their own.

A sum of right and wrong answers takes few values, so a test at 5 % rejects less often than one in twenty. How
often is known exactly: these functions convolve distributions and call none of the tests.
"""

from __future__ import annotations

import functools

import numpy as np
from scipy import stats


def of_sign_flips(sums, resamples=None, two_sided=True):
    """Chance that a sign-flip test of each row of integer unit sums, (study, unit), rejects at 5 %.

    The flipped sum has the characteristic function ∏ cos(s_i t). `resamples` patterns are drawn at random
    beside the observed one, or all are counted.
    """
    largest = int(np.abs(sums).sum(axis=1).max())
    n = 2 ** int(np.ceil(np.log2(2 * largest + 2)))
    transformed = np.ones((len(sums), n // 2 + 1))  # the other half mirrors it
    for unit in range(sums.shape[1]):
        transformed *= np.cos(2 * np.pi * np.arange(n // 2 + 1) * sums[:, [unit]] / n)
    probability = np.maximum(np.fft.irfft(transformed, n, axis=1), 0)
    probability = np.roll(probability, largest, axis=1)[:, : 2 * largest + 1]  # totals −largest … largest
    as_high = probability[:, ::-1].cumsum(axis=1)[:, ::-1]
    return (probability * _rejects(as_high, resamples, two_sided)).sum(axis=1) * (2 if two_sided else 1)


def of_exchanges(right, resamples):
    """The same for exchanging one culture with others within questions; `right` is (study, question).

    The statistic rises with the right answers of the culture, of which question q has one with probability
    `right[q]`, its share of cultures that are right.
    """
    probability = np.ones((len(right), 1))
    for question in right.T:
        longer = np.zeros((len(right), probability.shape[1] + 1))
        longer[:, :-1] += probability * (1 - question[:, None])
        longer[:, 1:] += probability * question[:, None]
        probability = longer
    as_high = probability[:, ::-1].cumsum(axis=1)[:, ::-1]
    return (probability * _rejects(as_high, resamples, two_sided=False)).sum(axis=1)


@functools.cache
def of_votes(n, *, mid):
    """The same for McNemar's test of `n` votes: exact, or with half the probability of what was observed."""
    if n == 0:
        return 0.0
    votes = np.arange(n + 1)
    fewer = np.minimum(votes, n - votes)
    p = 2 * stats.binom.cdf(fewer, n, 0.5) - (stats.binom.pmf(fewer, n, 0.5) if mid else 0)
    p[votes == n - votes] = 1.0
    return float(stats.binom.pmf(votes, n, 0.5)[p <= 0.05].sum())


def _rejects(tail, resamples, two_sided):
    """Chance of a p of at most 5 % where `tail` is the chance of patterns as extreme on one side."""
    level = 0.025 if two_sided else 0.05
    if resamples is None:
        return (tail <= level + 1e-9) * 1.0
    most = np.floor(level * (1 + resamples) + 1e-9) - 1  # the observed pattern counts as one
    return stats.binom.cdf(most, resamples, np.minimum(tail, 1.0))


def within(rate, expected, n):
    """Whether the rate of `n` studies is the expected one, to within three standard errors."""
    return abs(rate - expected) <= 3 * np.sqrt(max(expected * (1 - expected), 1e-4) / n)
