"""Tokens with a positive activation: the counter behind LAPE and CAPE.

Summed over the items of a culture and divided by their tokens it is p(n,g), the share of tokens at which the
neuron is on (Tang et al. 2024; METHOD §8). SiLU and GELU keep the sign, so the sign of the gate's output is
that of its activation function.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from culnig.scorers.base import Pair, Scorer

if TYPE_CHECKING:
    import torch


class PositiveTokens(Scorer):
    """Number of real tokens with a(n,t) > 0."""

    name = "positive-tokens"
    summary = "tokens with activation > 0 (for `select lape` and `select cape`)"

    def item_scores(self, pair: Pair) -> torch.Tensor:
        """See `Scorer`."""
        return pair.token_sums.positive_tokens.float()
