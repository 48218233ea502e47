"""Norm of the gradient over the real tokens: sensitivity that knows no activation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from culnig.scorers.base import Pair, Scorer

if TYPE_CHECKING:
    import torch


class GradientNorm(Scorer):
    """√Σ_t (∂P/∂a(n,t))²."""

    name = "gradient-norm"
    summary = "norm over the tokens of the gradient of P(gold)"

    def item_scores(self, pair: Pair) -> torch.Tensor:
        """See `Scorer`."""
        return pair.token_sums.gradient_norm
