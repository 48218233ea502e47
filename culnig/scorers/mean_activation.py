"""Mean |activation| over the real tokens: the baseline that knows no gradient."""

from __future__ import annotations

from typing import TYPE_CHECKING

from culnig.scorers.base import Pair, Scorer

if TYPE_CHECKING:
    import torch


class MeanActivation(Scorer):
    """Σ_t |a(n,t)| / number of real tokens."""

    name = "mean-activation"
    summary = "mean |activation| over the tokens of an item"

    def item_scores(self, pair: Pair) -> torch.Tensor:
        """See `Scorer`."""
        return pair.token_sums.magnitude / pair.real.sum(1, keepdim=True)
