"""Reading options as texts: rows of prompt and option, and the log-probability of each option's text.

Every option is a row of its own, read by teacher forcing: the logits at each of its tokens give the
probability of the next one. Rows are batched as items are, and evaluation lets them share the tokens that
they have in common (`inference.trees`), which are those of the prompt at least.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np

from culnig.core.items import Item
from culnig.core.likelihood import settle
from culnig.core.outcomes import Outcomes
from culnig.errors import InputError, option
from culnig.inference.batches import AnswerBatch, Batch, make_batches
from culnig.inference.encoding import EncodedItem
from culnig.kernels.transfers import to_device
from culnig.models.base import BoundModel

if TYPE_CHECKING:
    import torch

MOST_LOGITS = 1 << 25
"""Most logits of a batch that reads several tokens of each row: a quarter of a gigabyte in float64."""
LOGIT_BYTES = 3 * 8
"""Bytes of each of them in a backward pass: the logit, its part of the sum, its gradient."""


class _Rows(AnswerBatch, Protocol):
    def halves(self) -> tuple[Any, Any]: ...


B = TypeVar("B", bound=_Rows)


def reads_texts(batch: AnswerBatch) -> bool:
    """Whether the options of a batch are texts."""
    return bool(batch.items) and bool(batch.items[0].texts)


def rows_of(encoded: Sequence[EncodedItem]) -> tuple[list[EncodedItem], list[int]]:
    """A row for each option that is a text, or each item with labels; and the index of each row's item."""
    rows = [each.by_option() for each in encoded]
    numbers = [number for number, own in enumerate(rows) for _ in own]
    return [row for own in rows for row in own], numbers


def n_prompts(items: Iterable[Item]) -> int:
    """Rows that the model reads of items."""
    return sum(len(item.options) if item.likelihood else 1 for item in items)


def cut(bound: BoundModel, batches: Iterable[B]) -> list[B]:
    """The batches, in halves where they would read more than MOST_LOGITS; those of labels as they are."""
    most = max(1, MOST_LOGITS // bound.n_embeddings)
    parts: list[B] = []
    for batch in batches:
        n_read = sum(len(row.targets) for row in batch.items)
        if not reads_texts(batch) or n_read <= most or len(batch.items) == 1:
            parts.append(batch)
        else:
            parts += cut(bound, batch.halves())
    return parts


def answer_batches(bound: BoundModel, encoded: Sequence[EncodedItem], token_budget: int) -> list[Batch]:
    """Batches of all options, or of all items with labels, each row whole and with its item's index."""
    rows, numbers = rows_of(encoded)
    return [batch.renumbered(numbers) for batch in cut(bound, make_batches(rows, token_budget))]


def log_probabilities(batch: AnswerBatch, logits: torch.Tensor) -> torch.Tensor:
    """Log-probability of each row's text, summed over its tokens, (row,), attached to the graph.

    `logits` are those of the reader, (read token, vocabulary).
    """
    targets = np.array([token for row in batch.items for token in row.targets])
    rows = np.repeat(np.arange(len(batch.items)), [len(row.targets) for row in batch.items])
    own = logits.gather(1, to_device(targets, logits.device)[:, None]).squeeze(1)
    of_tokens = own.double() - logits.logsumexp(-1).double()
    sums = of_tokens.new_zeros(len(batch.items))
    return sums.index_add(0, to_device(rows, logits.device), of_tokens)


def record(batch: AnswerBatch, values: torch.Tensor, outcomes: Outcomes) -> None:
    """Write log-probabilities, (row,); InputError for one that is not a number."""
    for number, row, value in zip(batch.numbers, batch.items, values.tolist(), strict=True):
        item = row.item
        if not value > -np.inf:
            raise InputError(
                f"item {item.id}: the log-probability of option {item.options[row.read]!r} is {value}; the "
                f"model's numbers overflow. Load it with {option('dtype', 'float32')}, or mask with a factor "
                "nearer to 1"
            )
        outcomes.log_probabilities[number, row.read] = value


def settle_batches(batches: Iterable[Any], outcomes: Outcomes) -> None:
    """Write the answers that follow from the log-probabilities of all options, for the items of batches.

    The tokens of an item are those of its prompt and gold text that are read.
    """
    items: dict[int, Item] = {}
    for batch in batches:
        for number, row in zip(batch.numbers, batch.items, strict=True):
            if row.texts:
                items[number] = row.item
                if row.item.options[row.read] == row.item.answer:
                    outcomes.n_tokens[number] = len(row.token_ids)
    settle(items, outcomes)
