"""Batches of items that begin alike, and the work that they are.

A shared batch is some groups of items, each group behind one prefix that goes forward once. What follows the
prefixes goes in turns that keep within the token budget. Padding is on the right, as in `batches`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from culnig.inference.batches import Batch

ONE_WAY = 0.5
"""Share of the work on a token that is one pass over it: forward, which a group does once, or backward."""
PASS_OVERHEAD = 24
"""Work, in tokens, that every pass costs beside its tokens: small matrix products are slower ones.

On 2 cores a forward or a backward pass of the embedded model took 27 ms + 0.62 ms a token with oneDNN, 43
ms + 1.14 ms with MKL (37 to 2,000 tokens): about 20 tokens both ways, and a few more for the hooks."""


def best_runs(begins: Sequence[int]) -> list[slice]:
    """The runs that a sequence is best cut into, in order.

    `begins[end]` is where the last run begins if the sequence ends at `end`; begins[0] is 0.
    """
    runs, end = [], len(begins) - 1
    while end:
        runs.append(slice(begins[end], end))
        end = begins[end]
    return runs[::-1]


def pass_work(n_passes: int) -> float:
    """Work, in tokens, that passes cost beside their tokens."""
    return PASS_OVERHEAD * n_passes


@dataclass(frozen=True)
class SharedBatch:
    """Groups of items that go through the model together, each group behind one prefix."""

    batch: Batch
    group_of: tuple[int, ...]
    """Number of the group of each item."""
    prefixes: tuple[tuple[int, ...], ...]
    """Token ids of each group's prefix."""

    @property
    def prefix_lengths(self) -> NDArray[np.int64]:
        """Tokens of each item's prefix, shape (item,)."""
        return np.array([len(self.prefixes[group]) for group in self.group_of], dtype=np.int64)

    @property
    def rest_lengths(self) -> NDArray[np.int64]:
        """Tokens of each item behind its prefix, shape (item,)."""
        return self.batch.lengths - self.prefix_lengths

    @property
    def members(self) -> list[list[int]]:
        """Rows of each group's items."""
        rows: list[list[int]] = [[] for _ in self.prefixes]
        for row, group in enumerate(self.group_of):
            rows[group].append(row)
        return rows

    @property
    def prefix_tokens(self) -> int:
        """Tokens of the prefixes, padding included."""
        return len(self.prefixes) * max(map(len, self.prefixes))

    @property
    def rest_tokens(self) -> int:
        """Tokens behind the prefixes, padding included."""
        return len(self.batch.items) * int(self.rest_lengths.max())

    @property
    def n_tokens(self) -> int:
        """Tokens that the model sees, padding included."""
        return self.prefix_tokens + self.rest_tokens

    def work(self, token_budget: int) -> float:
        """Work on the batch, in tokens that go forward and backward in one large pass, padding included."""
        passes = 1 + max(map(len, self.members))
        rests = [self.part(rows).rest_tokens for rows in self.turns(token_budget)]
        tokens = ONE_WAY * passes * self.prefix_tokens + sum(rests)
        return tokens + pass_work(passes + 2 * len(rests))

    def turns(self, token_budget: int) -> list[list[int]]:
        """Rows of the items in turns of like lengths, longest first.

        Turns keep within what the prefixes leave of the budget; where an item needs more it goes alone.
        """
        order = np.lexsort((np.arange(len(self.rest_lengths)), -self.rest_lengths))
        longest, places = self.rest_lengths[order], np.arange(len(order))
        room = token_budget - self.prefix_tokens
        best, begins = np.zeros(len(order) + 1), [0]
        for end in range(1, len(order) + 1):
            tokens = (end - places[:end]) * longest[:end]  # of a turn that begins at each place and ends here
            costs = best[:end] + tokens + pass_work(2)
            costs[:-1][tokens[:-1] > room] = np.inf
            begins.append(int(costs.argmin()))
            best[end] = costs[begins[end]]
        return [order[run].tolist() for run in best_runs(begins)]

    def part(self, rows: Sequence[int]) -> SharedBatch:
        """Some of the items, behind the same prefixes."""
        numbers, items = self.batch.numbers, self.batch.items
        batch = Batch(tuple(numbers[row] for row in rows), tuple(items[row] for row in rows))
        return SharedBatch(batch, tuple(self.group_of[row] for row in rows), self.prefixes)

    def halves(self) -> tuple[SharedBatch | Batch, SharedBatch | Batch]:
        """The batch as two, items in the same order; for batches of at least two items."""
        n_groups, n_items = len(self.prefixes), len(self.batch.items)
        middle = self.group_of.index((n_groups + 1) // 2) if n_groups > 1 else (n_items + 1) // 2
        return self._rows(0, middle), self._rows(middle, n_items)

    def _rows(self, begin: int, end: int) -> SharedBatch | Batch:
        """Some of the items; one alone shares nothing."""
        batch = Batch(self.batch.numbers[begin:end], self.batch.items[begin:end])
        if end - begin == 1:
            return batch
        first, last = self.group_of[begin], self.group_of[end - 1]
        group_of = tuple(group - first for group in self.group_of[begin:end])
        return SharedBatch(batch, group_of, self.prefixes[first : last + 1])


def whole(batch: SharedBatch | Batch) -> Batch:
    """The batch's items, each as a whole prompt."""
    return batch.batch if isinstance(batch, SharedBatch) else batch


def renumbered(batch: SharedBatch | Batch, numbers: Sequence[int]) -> SharedBatch | Batch:
    """The batch with item i now at place `numbers[i]`."""
    if isinstance(batch, SharedBatch):
        return SharedBatch(batch.batch.renumbered(numbers), batch.group_of, batch.prefixes)
    return batch.renumbered(numbers)


def batch_work(batch: SharedBatch | Batch, token_budget: int) -> float:
    """Work on a batch, in tokens that go forward and backward in one large pass, padding included."""
    if isinstance(batch, Batch):
        return batch.n_tokens + pass_work(2)
    return batch.work(token_budget)


def total_work(batches: Sequence[SharedBatch | Batch], token_budget: int) -> float:
    """Work on all batches, as in `batch_work`."""
    return sum(batch_work(batch, token_budget) for batch in batches)
