"""Gradient × activation of log P(gold): the same direction as that of P(gold), over P(gold).

Weighted with P(gold) like the engine's own score it is gradient × activation itself, unweighted: unsure items
count as much as sure ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from culnig.scorers.base import Pair, Scorer

if TYPE_CHECKING:
    import torch


class LogProbability(Scorer):
    """P · max_t a(n,t) · ∂log P/∂a(n,t) = max_t a(n,t) · ∂P/∂a(n,t)."""

    name = "log-probability"
    summary = "gradient × activation of log P(gold)"

    def item_scores(self, pair: Pair) -> torch.Tensor:
        """See `Scorer`."""
        return pair.highest(pair.activation.float() * pair.gradient.float())
