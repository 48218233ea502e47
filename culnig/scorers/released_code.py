"""Gradient × activation as the paper's released code computes it, for comparison (`--compat paper`).

Products are taken in bfloat16, and padding counts as a zero before the maximum: an item that is shorter than
the longest of its batch is never scored below zero, so the score depends on the batch (METHOD §1).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from culnig.scorers.base import Pair, Scorer

if TYPE_CHECKING:
    import torch


class ReleasedCode(Scorer):
    """max over the batch's tokens of the bfloat16 product, padding as zero."""

    name = "released-code"
    summary = "gradient × activation with the quirks of the paper's released code"
    weight = "gold"

    def item_scores(self, pair: Pair) -> torch.Tensor:
        """See `Scorer`."""
        products = pair.activation.bfloat16() * pair.gradient.bfloat16()
        return products.masked_fill(~pair.real[..., None], 0).amax(dim=1).float()
