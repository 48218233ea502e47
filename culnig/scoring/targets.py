"""Scalars that are differentiated beside P(gold), for the scorers that ask for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from culnig.inference.batches import Batch

if TYPE_CHECKING:
    import torch


def wrong_label_probabilities(batch: Batch, probabilities: torch.Tensor) -> torch.Tensor:
    """Probability of the most probable label that is not the gold one, shape (item,)."""
    import torch

    return torch.stack([row.max() for row in _other_labels(batch, probabilities)])


def log_odds(batch: Batch, probabilities: torch.Tensor) -> torch.Tensor:
    """log P(gold) − log of the probability on all other labels, shape (item,)."""
    import torch

    others = torch.stack([row.sum() for row in _other_labels(batch, probabilities)])
    gold = torch.stack([probabilities[row, encoded.gold_id] for row, encoded in enumerate(batch.items)])
    return gold.log() - others.log()


def _other_labels(batch: Batch, probabilities: torch.Tensor) -> list[torch.Tensor]:
    return [
        probabilities[row, [label for label in encoded.option_ids if label != encoded.gold_id]]
        for row, encoded in enumerate(batch.items)
    ]
