"""Integrated gradients, the score of knowledge neurons.

Dai et al. (2022; METHOD §8): ā · ∫₀¹ ∂P(αā)/∂a dα, a Riemann sum with 20 steps. There the neurons of one
layer are scaled; here those of all modules at once, so that one sum serves every neuron.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from culnig.scorers.base import Pair, Scorer

if TYPE_CHECKING:
    import torch


class IntegratedGradients(Scorer):
    """max_t a(n,t) · mean over the path of ∂P/∂a(n,t), weighted with P(gold)."""

    name = "integrated-gradients"
    summary = "activation × gradient averaged over a path from zero (20 more passes)"
    weight = "gold"
    targets = ("path",)

    def item_scores(self, pair: Pair) -> torch.Tensor:
        """See `Scorer`."""
        return pair.highest(pair.activation.float() * pair.gradients["path"].float())
