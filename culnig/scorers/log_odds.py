"""Gradient × activation of the log-odds of the gold label among the labels.

It does not see how much probability the labels have together, so neurons that only keep the answer format
score low.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from culnig.scorers.base import Pair, Scorer

if TYPE_CHECKING:
    import torch


class LogOdds(Scorer):
    """max_t a(n,t) · ∂(log P(gold) − log P(other labels))/∂a(n,t), weighted with P(gold)."""

    name = "log-odds"
    summary = "gradient × activation of the log-odds of the gold label among the labels"
    weight = "gold"
    targets = ("log-odds",)

    def item_scores(self, pair: Pair) -> torch.Tensor:
        """See `Scorer`."""
        return pair.highest(pair.activation.float() * pair.gradients["log-odds"].float())
