"""Items that begin alike share the work on what they have in common.

The five rows of a BLEnD question, or all items of a benchmark whose instruction comes first, are the same
tokens for most of their length. Here such items form groups; the keys and values of a group's prefix are
computed once, and every item goes on from there with its own tokens. In a causal model that is the same
computation up to the float noise of the matrix products.

This is for scoring, where every item needs a backward pass of its own through the prefix, and only the
forward pass is saved (answers alone are read from `trees`, which save more). Groups are runs of the items in
the order of their tokens, cut where the work is smallest. Padding is on the right, as in `batches`; the
padding that follows a shorter prefix is masked, and positions count real tokens only.
"""

from __future__ import annotations

import inspect
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from culnig.bound import BoundModel
from culnig.inference.answers import AnswerReader
from culnig.inference.batches import Batch, make_batches, padded
from culnig.inference.encoding import EncodedItem, common_tokens

if TYPE_CHECKING:
    import torch

PAYS_BELOW = 0.9
"""Sharing is used where it leaves at most this share of the work."""
_GROUP_OVERHEAD = 4
"""Tokens that a group must save beyond what it costs: expanding its cache is not free."""
ONE_WAY = 0.5
"""Share of the work on a token that is one pass over it: forward, which a group does once, or backward."""
PASS_OVERHEAD = 24
"""Work, in tokens, that every pass costs beside its tokens: small matrix products are slower ones.

On 2 cores a forward or a backward pass of the embedded model took 27 ms + 0.62 ms a token with oneDNN, 43
ms + 1.14 ms with MKL (37 to 2,000 tokens): about 20 tokens both ways, and a few more for the hooks."""
_LARGEST_GROUP = 16
"""Larger ones would save little more, and the backward passes of several groups run side by side."""


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
        return tokens + PASS_OVERHEAD * (passes + 2 * len(rests))

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
            costs = best[:end] + tokens + 2 * PASS_OVERHEAD
            costs[:-1][tokens[:-1] > room] = np.inf
            begins.append(int(costs.argmin()))
            best[end] = costs[begins[end]]
        ends, end = [], len(order)
        while end:
            ends.append((begins[end], end))
            end = begins[end]
        return [order[begin:end].tolist() for begin, end in reversed(ends)]

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
        return batch.n_tokens + 2 * PASS_OVERHEAD
    return batch.work(token_budget)


def total_work(batches: Sequence[SharedBatch | Batch], token_budget: int) -> float:
    """Work on all batches, as in `batch_work`."""
    return sum(batch_work(batch, token_budget) for batch in batches)


def share_prefixes(encoded: Sequence[EncodedItem], token_budget: int) -> list[SharedBatch | Batch] | None:
    """Batches that share prefixes, and plain ones for the other items; None where sharing does not pay.

    The prefixes of a batch have at most half of `token_budget` tokens, padding included, and the rests of its
    items go in turns that share the budget with them.
    """
    if not encoded:
        return None
    groups = _groups(encoded, token_budget)
    packed = _pack([group for group in groups if len(group) > 1], encoded, token_budget)
    packed = [_levelled(batch, token_budget) for batch in packed]
    shared = [batch for batch in packed if _saves(batch, token_budget)]
    together = {number for batch in shared for number in batch.batch.numbers}
    alone = [number for number in range(len(encoded)) if number not in together]
    rest = [
        batch.renumbered(alone) for batch in make_batches([encoded[number] for number in alone], token_budget)
    ]
    batches: list[SharedBatch | Batch] = [*shared, *rest]
    plain = total_work(make_batches(encoded, token_budget), token_budget)
    return batches if total_work(batches, token_budget) <= PAYS_BELOW * plain else None


def _levelled(shared: SharedBatch, token_budget: int) -> SharedBatch:
    """The batch with its longest prefixes cut, such that padding shorter ones costs least."""
    lengths = sorted({len(prefix) for prefix in shared.prefixes})
    cut = (
        SharedBatch(shared.batch, shared.group_of, tuple(prefix[:length] for prefix in shared.prefixes))
        for length in reversed(lengths)
    )
    return min(cut, key=lambda batch: batch.work(token_budget))


def _saves(shared: SharedBatch, token_budget: int) -> bool:
    """Whether the batch is less work than whole prompts of the same items."""
    plain = make_batches(shared.batch.items, token_budget)
    return shared.work(token_budget) < total_work(plain, token_budget)


def _common(first: Sequence[int], second: Sequence[int]) -> int:
    """How many tokens two items have in common before the last of either."""
    return min(common_tokens(first, second), len(first) - 1, len(second) - 1)


def _groups(encoded: Sequence[EncodedItem], token_budget: int) -> list[list[int]]:
    """Items in groups, such that the work on prefixes and on the rests of all items is smallest."""
    order = sorted(range(len(encoded)), key=lambda number: (encoded[number].token_ids, number))
    ids = [encoded[number].token_ids for number in order]
    common = [0, *(_common(one, two) for one, two in itertools.pairwise(ids))]
    best, begins = [0.0], [0]
    for end in range(1, len(ids) + 1):
        prefix = longest = len(ids[end - 1])
        total, cost, begin = longest, best[end - 1] + longest, end - 1
        for start in range(end - 2, max(-1, end - 1 - _LARGEST_GROUP), -1):
            prefix = min(prefix, common[start + 1])
            longest = max(longest, len(ids[start]))
            total += len(ids[start])
            n = end - start
            if prefix == 0 or n * (longest - prefix) > token_budget:
                break
            together = best[start] + total - ONE_WAY * (n - 1) * prefix + _GROUP_OVERHEAD
            if together < cost:
                cost, begin = together, start
        best.append(cost)
        begins.append(begin)
    groups, end = [], len(ids)
    while end:
        groups.append(order[begins[end] : end])
        end = begins[end]
    return groups[::-1]


def _pack(groups: list[list[int]], encoded: Sequence[EncodedItem], token_budget: int) -> list[SharedBatch]:
    """Groups of like lengths together, longest first, under the budget.

    A batch takes as many passes as its largest group has items, so groups of like sizes are tried too.
    """
    sized = [_Group(group, encoded) for group in groups]
    orders: list[Callable[[_Group], tuple[int, ...]]] = [
        lambda group: (group.prefix, group.rest),
        lambda group: (len(group.numbers), group.prefix, group.rest),
        lambda group: (len(group.numbers), group.prefix // 16, group.rest),
    ]
    packed = [
        [_shared(members, encoded) for members in _cut(sorted(sized, key=order, reverse=True), token_budget)]
        for order in orders
    ]

    return min(packed, key=lambda batches: total_work(batches, token_budget))


class _Group:
    """Items behind one prefix."""

    def __init__(self, numbers: list[int], encoded: Sequence[EncodedItem]) -> None:
        ids = [encoded[number].token_ids for number in numbers]
        self.numbers = numbers
        self.prefix = min(_common(ids[0], other) for other in ids[1:])
        self.rest = max(map(len, ids)) - self.prefix


def _cut(groups: list[_Group], token_budget: int) -> list[list[_Group]]:
    """Groups in batches, in their order, such that padding and the batches' own cost are least.

    Every prefix of a batch is as long as its longest and goes back as often as its largest group has items.
    """
    best, begins = [0.0], [0]
    for end in range(1, len(groups) + 1):
        prefix = passes = rest = n_items = 0
        cost, begin = math.inf, end - 1
        for start in range(end - 1, -1, -1):
            group, n_groups = groups[start], end - start
            prefix, passes = max(prefix, group.prefix), max(passes, len(group.numbers))
            rest, n_items = max(rest, group.rest), n_items + len(group.numbers)
            if n_groups > 1 and (n_groups * prefix > token_budget // 2 or n_items * rest > token_budget):
                break
            ways = 1 + passes
            overhead = PASS_OVERHEAD * (ways + 2 * math.ceil(n_items * rest / token_budget))
            here = best[start] + ONE_WAY * ways * n_groups * prefix + overhead
            if here < cost:
                cost, begin = here, start
        best.append(cost)
        begins.append(begin)
    packed, end = [], len(groups)
    while end:
        packed.append(groups[begins[end] : end])
        end = begins[end]
    return packed[::-1]


def _shared(members: list[_Group], encoded: Sequence[EncodedItem]) -> SharedBatch:
    numbers = tuple(number for group in members for number in group.numbers)
    return SharedBatch(
        Batch(numbers, tuple(encoded[number] for number in numbers)),
        tuple(place for place, group in enumerate(members) for _ in group.numbers),
        tuple(encoded[group.numbers[0]].token_ids[: group.prefix] for group in members),
    )


class PrefixReader:
    """Takes prefixes, and what follows them, forward through an open AnswerReader."""

    def __init__(self, bound: BoundModel, reader: AnswerReader) -> None:
        self._bound = bound
        self._reader = reader

    def forward_prefixes(self, shared: SharedBatch) -> Any:
        """The cache of the prefixes, a row for each group; the head sees nothing."""
        import torch
        from transformers import DynamicCache

        ids, _ = _padded(shared.prefixes)
        cache = DynamicCache(config=self._bound.model.config)
        nowhere = torch.zeros(0, dtype=torch.long)
        self._reader.forward(ids.to(self._bound.input_device), nowhere, past_key_values=cache, use_cache=True)
        return cache

    def forward_rests(self, shared: SharedBatch, cache: Any) -> torch.Tensor:
        """Logits at the last real position, (item, vocabulary), behind a cache with a row for each item."""
        import torch

        ids, lengths = _padded(
            [
                one.token_ids[len(shared.prefixes[group]) :]
                for one, group in zip(shared.batch.items, shared.group_of, strict=True)
            ]
        )
        before = torch.from_numpy(shared.prefix_lengths)[:, None]
        longest = max(map(len, shared.prefixes))
        steps = torch.arange(ids.shape[1])[None, :]
        mask = torch.cat([torch.arange(longest)[None, :] < before, steps < lengths[:, None]], dim=1)
        return self._reader.forward(
            ids.to(self._bound.input_device),
            lengths - 1,
            past_key_values=cache,
            use_cache=True,
            attention_mask=mask.long().to(self._bound.input_device),
            position_ids=(before + torch.minimum(steps, lengths[:, None] - 1)).to(self._bound.input_device),
        )


def _padded(rows: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids padded on the right, (row, token), and the length of each row."""
    import torch

    return torch.from_numpy(padded(rows)), torch.tensor([len(row) for row in rows])


def unfit(bound: BoundModel) -> str | None:
    """Why the cache of a model is not plain, or None where every layer keeps all keys and values."""
    from transformers.cache_utils import DynamicCache, DynamicLayer

    model: Any = bound.model
    wanted = {"past_key_values", "position_ids", "attention_mask", "use_cache"}
    missing = wanted - set(inspect.signature(model.forward).parameters)
    if missing:
        return f"its forward takes no {', '.join(sorted(missing))}"
    try:
        layers = DynamicCache(config=model.config).layers
    except Exception as error:  # a configuration that transformers cannot make a cache for
        return f"transformers makes no cache for it ({type(error).__name__})"
    odd = sorted({type(layer).__name__ for layer in layers if type(layer) is not DynamicLayer})
    return f"its cache has layers of {', '.join(odd)}" if odd else None
