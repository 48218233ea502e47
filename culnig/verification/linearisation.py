"""Is a score what it stands for? The exact effect of zeroing single neurons beside their scores.

A score is a first-order estimate: gradient × activation says how P(gold) would change if the neuron went to
zero and everything were linear, and the default aggregator keeps only the token where that is largest. The
audit zeroes neurons one at a time and asks the model again. Effects and scores are over the same items and
weighted alike: Σ P(gold) · (P(gold) − P(gold | neuron at zero)) / items beside Σ P(gold) · s / items.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from culnig.core.items import Item
from culnig.core.outcomes import Outcomes
from culnig.errors import InputError
from culnig.inference.answers import AnswerReader
from culnig.inference.batches import Batch, make_batches
from culnig.inference.encoding import Encoder
from culnig.models.base import BoundModel
from culnig.models.intervention import intervene
from culnig.scoring.scoring import ScoreSettings, score_benchmark

LOW = 0.5
"""A rank correlation below this is a warning: the ranking says little about what zeroing does."""


@dataclass(frozen=True)
class RankCorrelation:
    """Spearman's ρ with its 95 % interval."""

    n: int
    rho: float
    """NaN where one side does not vary."""
    low: float
    high: float


def rank_correlation(first: NDArray[np.float64], second: NDArray[np.float64]) -> RankCorrelation:
    """Spearman's ρ; interval by Fisher's z with variance 1.06/(n − 3) (Fieller, Hartley and Pearson 1957)."""
    from scipy.stats import spearmanr

    n = len(first)
    if n < 4 or not (np.ptp(first) > 0 and np.ptp(second) > 0):
        return RankCorrelation(n, math.nan, math.nan, math.nan)
    rho = float(spearmanr(first, second).statistic)
    if abs(rho) > 1 - 1e-12:
        return RankCorrelation(n, rho, rho, rho)
    half = 1.959964 * math.sqrt(1.06 / (n - 3))
    return RankCorrelation(n, rho, math.tanh(math.atanh(rho) - half), math.tanh(math.atanh(rho) + half))


@dataclass(frozen=True)
class Audit:
    """Neurons with their scores and effects, the top ones first; all arrays are (neuron,)."""

    flat: NDArray[np.int64]
    """Positions in the layout."""
    n_top: int
    """How many of them are the set's best; the others are random."""
    score: NDArray[np.float64]
    """By the aggregator of the run."""
    first_order: NDArray[np.float64]
    """By the aggregator `sum`: the linear estimate of the effect, at all tokens together."""
    effect: NDArray[np.float64]
    """What zeroing the neuron took from the target, exactly."""

    @property
    def correlations(self) -> dict[str, RankCorrelation]:
        """Score, and linear estimate, against the exact effect: over all neurons and over the top ones."""
        top = slice(0, self.n_top)
        return {
            "score, all": rank_correlation(self.score, self.effect),
            "score, top": rank_correlation(self.score[top], self.effect[top]),
            "linear estimate, all": rank_correlation(self.first_order, self.effect),
            "linear estimate, top": rank_correlation(self.first_order[top], self.effect[top]),
        }

    @property
    def is_low(self) -> bool:
        """Whether the score ranks neurons too badly to be trusted (or cannot be judged)."""
        return not self.correlations["score, all"].rho >= LOW


def audit(
    bound: BoundModel,
    items: Sequence[Item],
    top: NDArray[np.int64],
    random: NDArray[np.int64],
    settings: ScoreSettings | None = None,
    after_neuron: Callable[[], None] = lambda: None,
) -> Audit:
    """Zero each neuron at the flat positions `top` and `random` alone, on the same items."""
    settings = settings or ScoreSettings()
    if not len(items) or not len(top):
        raise InputError("an audit needs at least one item and one neuron")
    flat = np.concatenate([top, random]).astype(np.int64)
    score, first_order = (
        score_benchmark(
            bound, items, "target", ScoreSettings(aggregator=aggregator, token_budget=settings.token_budget)
        ).moments.culture_scores.sum(axis=0)[flat]
        for aggregator in (settings.aggregator, "sum")
    )
    batches = make_batches(Encoder(bound).encode_all(items), settings.token_budget)
    effect = np.empty(len(flat))
    with AnswerReader(bound) as reader:
        bare = _p_gold(reader, batches, items)
        for place, position in enumerate(flat):
            with intervene(bound, np.array([position])):
                masked = _p_gold(reader, batches, items)
            effect[place] = np.mean(bare * (bare - masked))
            after_neuron()
    return Audit(flat, len(top), score, first_order, effect)


def _p_gold(reader: AnswerReader, batches: Sequence[Batch], items: Sequence[Item]) -> NDArray[np.float64]:
    outcomes = Outcomes.empty(items)
    reader.answer_all(batches, outcomes)
    return outcomes.p_gold
