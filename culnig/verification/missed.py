"""How large an effect has a selection missed? An upper bound from a few exact effects.

The neurons that were not selected are put in order of their score and cut into STRATA strata that grow by a
constant factor; the first is as large as a sample. In the first, every neuron is zeroed; in each other, a
random sample of m neurons. Scores decide only how tight the bound is, not whether it holds.

**The bound of a stratum.** Let X be ∛|effect|, X₍₁₎ ≥ X₍₂₎ ≥ … the sample in order, u = X₍ₖ₊₁₎ a threshold
and ȳ the mean excess of the k largest over u. Assume that beyond u the stratum's X has an exponential tail
with some mean b, so that the effects fall off like exp(−∛|effect|/b): far slower than exponentially.
Then, exactly and whatever b and the distribution below u are,

- the probability p that another neuron exceeds u has the distribution Beta(k + 1, m − k) (it is an order
  statistic of m uniform numbers);
- k·ȳ/b has the distribution Gamma(k), independent of p (Rényi 1953: excesses over an order statistic are
  independent exponentials);
- given both, the R neurons that were not drawn are all below u + c·ȳ with probability
  (1 − p·exp(−c·ȳ/b))^R.

`c` is the number at which the mean of the last line over p and ȳ/b is 1 − α, by the quantiles of both. The
effect is at most (u + c·ȳ)³. With H sampled strata, α is 0.05/H for each, so that all bounds hold together
in at least 95 % of draws (Bonferroni); the largest of them is the bound. A lighter tail than assumed makes it
too large. A heavier one makes it too small: in particular, no sample sees a lone neuron out of line with its
whole stratum, which is missed with probability R/(R + m).

**Without the assumption** only a count can be bounded. If a stratum of M neurons held K with an effect above
the largest that was measured, m draws would miss them all with probability C(M − K, m)/C(M, m). The largest K
at which this is still more than α, added over the strata, bounds how many neurons exceed that effect.
"""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from culnig.errors import InputError

LEVEL = 0.95
MOST_ZEROED = 200
"""Exact effects that a bound takes at most."""
STRATA = 5
TAIL = 1 / 4
"""Share of a sample whose excesses measure the tail."""
FEWEST_EXCESSES = 3
_QUANTILES = 200
"""Points of each distribution over which probabilities are averaged."""


@dataclass(frozen=True)
class Stratum:
    """Neurons of similar scores, with what was measured of them."""

    n_neurons: int
    n_zeroed: int
    largest: float
    """Largest |effect| that was measured."""
    bound: float | None
    """Upper bound on |effect| in the stratum; None if too few of the sample have an effect at all."""
    n_above: int
    """At most so many have a larger |effect| than any that was measured (without an assumption)."""


@dataclass(frozen=True)
class Missed:
    """Bound on the largest effect among the neurons that were not selected."""

    strata: tuple[Stratum, ...]

    @property
    def bound(self) -> float | None:
        """Upper bound on |effect| with 95 % confidence; None if a stratum has none."""
        bounds = [stratum.bound for stratum in self.strata]
        return None if None in bounds else max(bound for bound in bounds if bound is not None)

    @property
    def largest(self) -> float:
        """Largest |effect| that was measured."""
        return max(stratum.largest for stratum in self.strata)

    @property
    def n_neurons(self) -> int:
        """Neurons that were not selected."""
        return sum(stratum.n_neurons for stratum in self.strata)

    @property
    def n_zeroed(self) -> int:
        """How many of them were zeroed."""
        return sum(stratum.n_zeroed for stratum in self.strata)

    @property
    def n_above(self) -> int:
        """At most so many have a larger |effect| than any that was measured, with 95 % confidence."""
        return sum(stratum.n_above for stratum in self.strata)


def draw_strata(
    score: NDArray[np.float64], seed: int, most: int = MOST_ZEROED
) -> list[tuple[int, NDArray[np.int64]]]:
    """Choose the neurons to zero among those with these scores: (neurons, chosen indices) of each stratum.

    All of them if there are at most `most`. InputError without any.
    """
    if not len(score):
        raise InputError("every neuron of these modules is selected, so none can have been missed")
    order = np.lexsort((np.arange(len(score)), -score))
    if len(order) <= most:
        return [(len(order), order)]
    sample = most // STRATA
    edges = [0, *_edges(len(order), sample)]
    generator = np.random.default_rng(seed)
    return [
        (stop - start, np.sort(generator.choice(order[start:stop], sample, replace=False)))
        for start, stop in itertools.pairwise(edges)
    ]


def _edges(n_neurons: int, sample: int) -> list[int]:
    """Ends of STRATA strata of sizes sample · rⁱ, which sum to the number of neurons."""
    low, high = 1.0, float(n_neurons)
    for _ in range(100):
        ratio = (low + high) / 2
        low, high = (ratio, high) if sample * (ratio ** np.arange(STRATA)).sum() < n_neurons else (low, ratio)
    ends = np.cumsum(sample * high ** np.arange(STRATA)).round().astype(int)
    ends[-1] = n_neurons
    return [int(end) for end in ends]


def bound_missed(strata: list[tuple[int, NDArray[np.float64]]]) -> Missed:
    """The bound from the exact effects of each stratum: its number of neurons and the effects measured."""
    n_sampled = sum(len(effects) < n_neurons for n_neurons, effects in strata)
    alpha = (1 - LEVEL) / max(1, n_sampled)
    return Missed(tuple(_bounded(n_neurons, effects, alpha) for n_neurons, effects in strata))


def _bounded(n_neurons: int, effects: NDArray[np.float64], alpha: float) -> Stratum:
    sizes = np.sort(np.abs(effects))[::-1]
    n, own = len(sizes), float(sizes[0])
    if n == n_neurons:
        return Stratum(n_neurons, n, own, own, 0)
    n_above = most_unseen(n_neurons, n, alpha)
    k = min(int(TAIL * n), int((sizes > 0).sum()) - 1)
    if k < FEWEST_EXCESSES:
        return Stratum(n_neurons, n, own, None, n_above)
    roots = np.cbrt(sizes[: k + 1])
    excess = float((roots[:k] - roots[k]).mean())
    reach = float(roots[k]) + tail_factor(n_neurons - n, n, k, alpha) * excess
    return Stratum(n_neurons, n, own, max(own, reach**3), n_above)


@functools.lru_cache(maxsize=64)  # the strata of equally many neurons have the same factors
def tail_factor(n_unseen: int, n_sample: int, k: int, alpha: float) -> float:
    """How many mean excesses above the threshold all unseen values stay, with probability 1 − alpha."""
    from scipy.stats import beta, gamma

    middles = (np.arange(_QUANTILES) + 0.5) / _QUANTILES
    exceeding = beta.ppf(middles, k + 1, n_sample - k)[:, None]
    mean_excess = gamma.ppf(middles, k)[None, :] / k
    low, high = 0.0, 1.0
    while _all_below(high, exceeding, mean_excess, n_unseen) < 1 - alpha:
        low, high = high, 2 * high
    for _ in range(40):
        middle = (low + high) / 2
        enough = _all_below(middle, exceeding, mean_excess, n_unseen) >= 1 - alpha
        low, high = (low, middle) if enough else (middle, high)
    return high


def _all_below(
    factor: float, exceeding: NDArray[np.float64], mean_excess: NDArray[np.float64], n_unseen: int
) -> float:
    chance = n_unseen * np.log1p(-exceeding * np.exp(-factor * mean_excess))
    return float(np.exp(chance).mean())


def most_unseen(n_neurons: int, n_sample: int, alpha: float) -> int:
    """Most neurons of a stratum that its sample misses altogether with a probability above alpha."""
    from scipy.special import gammaln

    unseen = np.arange(n_neurons - n_sample + 1)
    left = n_neurons - unseen
    missing = (gammaln(left + 1) - gammaln(left - n_sample + 1) - gammaln(n_neurons + 1)) + gammaln(
        n_neurons - n_sample + 1
    )
    return int(unseen[missing > np.log(alpha)][-1])
