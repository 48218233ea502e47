"""Inputs of the checks: a few short items of different lengths, and prompts of a single token."""

from __future__ import annotations

from culnig.core.items import Item
from culnig.inference.batches import Batch
from culnig.inference.encoding import EncodedItem

LABELS = (("A", "B", "C", "D"), ("1", "2", "3", "4"))


def probe_items(labels: tuple[str, ...] = LABELS[0]) -> list[Item]:
    """Items of clearly different lengths."""
    return [
        Item(
            id=f"probe-{number}",
            question_id=f"probe-{number}",
            culture="general",
            split="identify",
            prompt="Which letter comes first? " + "Think of the alphabet. " * (2 * number),
            options=labels,
            answer=labels[number],
        )
        for number in range(3)
    ]


def batch_of(*encoded: EncodedItem) -> Batch:
    """Items as one batch, in the order given."""
    return Batch(tuple(range(len(encoded))), encoded)


def cut_to(encoded: EncodedItem, n_tokens: int) -> EncodedItem:
    """The item with only the first tokens of its prompt."""
    return EncodedItem(encoded.item, encoded.token_ids[:n_tokens], encoded.gold_id, encoded.option_ids)
