"""CRISPR's score: what raises the most probable wrong label and does not raise the right one.

Yang et al. (ACL 2024; METHOD §8): B = A(ŷ) − max(0, A(y)) with A(y) = a · ∂P(y)/∂a, the maximum over tokens,
weighted with P(ŷ|x). It finds neurons of a bias, so it is a contrast to the scores of the right answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from culnig.scorers.base import Pair, Scorer

if TYPE_CHECKING:
    import torch


class Crispr(Scorer):
    """max_t [a · ∂P(ŷ)/∂a − max(0, a · ∂P(y)/∂a)], weighted with P(ŷ)."""

    name = "crispr"
    summary = "gradient × activation of the most probable wrong label, less that of the right one"
    weight = "wrong"
    targets = ("wrong",)

    def item_scores(self, pair: Pair) -> torch.Tensor:
        """See `Scorer`."""
        activation = pair.activation.float()
        right = activation * pair.gradient.float()
        wrong = activation * pair.gradients["wrong"].float()
        return pair.highest(wrong - right.clamp(min=0))
