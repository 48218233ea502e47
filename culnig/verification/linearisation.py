"""Do scores estimate effects? Compares scores with the exact effects of zeroing single neurons.

A score is a first-order estimate: gradient × activation is the change of P(gold) if the neuron were zeroed
and the model linear, and the default aggregator keeps only the token where it is largest. The audit zeroes
neurons one at a time and evaluates the model again. Effects and scores use the same items and weights: Σ
P(gold) · (P(gold) − P(gold | neuron at zero)) / items, and Σ P(gold) · s / items. Where options are read as
texts, the difference is that of the log-probabilities of the gold option's text.
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
from culnig.inference.batches import Batch
from culnig.inference.encoding import Encoder
from culnig.inference.likelihoods import answer_batches
from culnig.models.base import BoundModel
from culnig.models.intervention import intervene
from culnig.models.sharding import check_items
from culnig.scoring.scoring import ScoreSettings, score_benchmark
from culnig.verification.missed import Missed, bound_missed, draw_strata

LOW = 0.5
"""Below this rank correlation there is a warning: scores say little about the effects of zeroing."""


@dataclass(frozen=True)
class RankCorrelation:
    """Spearman's ρ with its 95 % interval."""

    n: int
    rho: float
    """NaN if one side does not vary."""
    low: float
    high: float


def rank_correlation(first: NDArray[np.float64], second: NDArray[np.float64]) -> RankCorrelation:
    """Spearman's ρ with Fisher's z interval, variance 1.06/(n − 3) (Fieller, Hartley and Pearson 1957)."""
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
    """Neurons with scores and effects, first the top ones, then the random ones; arrays are (neuron,)."""

    flat: NDArray[np.int64]
    """Flat indices in the layout."""
    n_top: int
    """Number of top neurons."""
    score: NDArray[np.float64]
    """Scores by the aggregator of the run."""
    first_order: NDArray[np.float64]
    """Scores by the aggregator `sum`: the linear estimate of the effect over all tokens."""
    effect: NDArray[np.float64]
    """Exact loss of the target when the neuron is zeroed."""
    missed: Missed | None = None
    """Bound on the effects of the neurons that were not selected, if it was asked for."""

    @property
    def correlations(self) -> dict[str, RankCorrelation]:
        """Score and linear estimate against the exact effect, over all neurons and over the top ones."""
        top = slice(0, self.n_top)
        return {
            "score, all": rank_correlation(self.score, self.effect),
            "score, top": rank_correlation(self.score[top], self.effect[top]),
            "linear estimate, all": rank_correlation(self.first_order, self.effect),
            "linear estimate, top": rank_correlation(self.first_order[top], self.effect[top]),
        }

    @property
    def is_low(self) -> bool:
        """Whether the scores' ranking is unreliable or cannot be judged."""
        return not self.correlations["score, all"].rho >= LOW


def audit(
    bound: BoundModel,
    items: Sequence[Item],
    top: NDArray[np.int64],
    random: NDArray[np.int64],
    settings: ScoreSettings | None = None,
    after_neuron: Callable[[], None] = lambda: None,
    *,
    encoder: Encoder | None = None,
    unselected: NDArray[np.int64] | None = None,
    seed: int = 0,
) -> Audit:
    """Zero each neuron of the flat indices `top` and `random` by itself, on the same items.

    `unselected` are those whose effects are to be bounded (`missed`); `seed` draws some of them to zero.
    """
    settings, encoder = settings or ScoreSettings(), encoder or Encoder(bound)
    if not len(items) or not len(top):
        raise InputError(
            f"{len(items)} items and {len(top)} neurons given; an audit needs at least one of each"
        )
    check_items(bound.sharding, len(items))
    flat = np.concatenate([top, random]).astype(np.int64)
    score, first_order = (
        score_benchmark(
            *(bound, items, "target"),
            ScoreSettings(aggregator=aggregator, token_budget=settings.token_budget),
            encoder=encoder,
        ).moments.culture_scores.sum(axis=0)
        for aggregator in (settings.aggregator, "sum")
    )
    batches = answer_batches(bound, encoder.encode_all(items), settings.token_budget)
    missed = None
    with AnswerReader(bound) as reader:
        bare = _answers(reader, batches, items)

        def effects(neurons: NDArray[np.int64]) -> NDArray[np.float64]:
            effect = np.empty(len(neurons))
            for number, index in enumerate(neurons):
                with intervene(bound, np.array([index])):
                    masked = _answers(reader, batches, items)
                effect[number] = np.mean(bare.p_gold * (_targets(bare) - _targets(masked)))
                after_neuron()
            return effect

        effect = effects(flat)
        if unselected is not None:
            strata = draw_strata(score[unselected], seed)
            missed = bound_missed([(n_neurons, effects(unselected[chosen])) for n_neurons, chosen in strata])
    return Audit(flat, len(top), score[flat], first_order[flat], effect, missed)


def _answers(reader: AnswerReader, batches: Sequence[Batch], items: Sequence[Item]) -> Outcomes:
    outcomes = Outcomes.empty(items)
    reader.answer_all(batches, outcomes)
    return outcomes


def _targets(outcomes: Outcomes) -> NDArray[np.float64]:
    """What scores are gradients of, (item,)."""
    return outcomes.gold_log_probability if outcomes.by_likelihood else outcomes.p_gold
