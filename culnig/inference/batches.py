"""Batches under a token budget.

Items are sorted by length (longest first, so that running out of memory shows at once), cut where the
padded size would exceed the budget, and padded on the right. In a causal model no real token sees the padding
after it, so an item's result does not depend on the rest of its batch and no attention mask is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from culnig.errors import InputError
from culnig.inference.encoding import EncodedItem

if TYPE_CHECKING:
    import torch

DEFAULT_TOKEN_BUDGET = 2048
LARGEST_USEFUL_BUDGET = 16384
"""A batch of this size keeps a device busy, and a failed batch costs its time."""


@dataclass(frozen=True)
class ModelInputs:
    """What the model reads of a batch."""

    token_ids: torch.Tensor
    """(row, token), padded on the right with 0."""
    rows: torch.Tensor
    """Row of each token whose logits are read, (read token,): the last of each item, or those before the
    tokens of a text."""
    last: torch.Tensor
    """Index of each of them in its row, (read token,)."""
    positions: torch.Tensor | None = None
    """Position of each token in its prompt, (row, token); None if it is the index in the row."""
    visible: torch.Tensor | None = None
    """Which tokens each token attends to, (row, 1, token, token); None for all up to itself."""


class AnswerBatch(Protocol):
    """A batch whose answers are read at the last tokens of each item: one item a row, or a tree of items."""

    @property
    def numbers(self) -> tuple[int, ...]:
        """Indices of the items in file order."""

    @property
    def items(self) -> tuple[EncodedItem, ...]:
        """The items."""

    def inputs(self) -> ModelInputs:
        """What the model reads."""


@dataclass(frozen=True)
class Batch:
    """Items that go through the model together, one a row."""

    numbers: tuple[int, ...]
    """Indices of the items in file order."""
    items: tuple[EncodedItem, ...]

    @property
    def item_ids(self) -> tuple[str, ...]:
        """Ids of the items."""
        return tuple(encoded.item.id for encoded in self.items)

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """Real tokens of each item, shape (item,)."""
        return np.array([len(encoded.token_ids) for encoded in self.items], dtype=np.int64)

    @property
    def token_mask(self) -> NDArray[np.bool_]:
        """True at real tokens, shape (item, token)."""
        return np.arange(self.lengths.max())[None, :] < self.lengths[:, None]

    @property
    def n_tokens(self) -> int:
        """Tokens that the model sees, padding included."""
        return len(self.items) * int(self.lengths.max())

    def renumbered(self, numbers: Sequence[int]) -> Batch:
        """The batch with item i renumbered to `numbers[i]`."""
        return Batch(tuple(int(numbers[number]) for number in self.numbers), self.items)

    def halves(self) -> tuple[Batch, Batch]:
        """The batch as two, items in the same order; for batches of at least two items."""
        middle = (len(self.items) + 1) // 2
        return (
            Batch(self.numbers[:middle], self.items[:middle]),
            Batch(self.numbers[middle:], self.items[middle:]),
        )

    def token_ids(self) -> torch.Tensor:
        """Token ids padded on the right with 0, shape (item, token)."""
        import torch

        return torch.from_numpy(padded([encoded.token_ids for encoded in self.items]))

    def inputs(self) -> ModelInputs:
        """What the model reads."""
        import torch

        n_read = np.array([len(encoded.targets) for encoded in self.items])
        rows = np.repeat(np.arange(len(self.items)), n_read)
        last = np.concatenate([np.arange(end - n, end) for end, n in zip(self.lengths, n_read, strict=True)])
        return ModelInputs(self.token_ids(), torch.from_numpy(rows), torch.from_numpy(last))


def padded(rows: Sequence[Sequence[int]]) -> NDArray[np.int64]:
    """Token ids padded on the right with 0, shape (row, token)."""
    ids = np.zeros((len(rows), max(map(len, rows))), dtype=np.int64)
    for index, row in enumerate(rows):
        ids[index, : len(row)] = row
    return ids


def make_batches(encoded: Sequence[EncodedItem], token_budget: int = DEFAULT_TOKEN_BUDGET) -> list[Batch]:
    """Batches of at most `token_budget` tokens, padding included; a longer item goes alone."""
    groups = split_by_budget([len(item.token_ids) for item in encoded], token_budget)
    return [Batch(tuple(group), tuple(encoded[number] for number in group)) for group in groups]


def split_by_budget(lengths: Sequence[int], token_budget: int) -> list[list[int]]:
    """Indices of `lengths`, longest first, cut where the padded size would exceed the budget."""
    order = sorted(range(len(lengths)), key=lambda number: (-lengths[number], number))
    groups, begin = [], 0
    for n_items, _ in batch_shapes(lengths, token_budget):
        groups.append(order[begin : begin + n_items])
        begin += n_items
    return groups


def batch_shapes(lengths: Sequence[int], token_budget: int) -> list[tuple[int, int]]:
    """Items, and tokens of the longest, of each batch that `split_by_budget` makes."""
    if token_budget < 1:
        raise InputError(f"token budget {token_budget} is too small; give at least 1")
    longest_first = sorted(lengths, reverse=True)
    shapes, begin = [], 0
    while begin < len(longest_first):
        longest = longest_first[begin]
        n_items = max(1, token_budget // max(1, longest))
        shapes.append((min(n_items, len(longest_first) - begin), longest))
        begin += n_items
    return shapes
