"""Items that begin alike share the work on what they have in common.

The five rows of a BLEnD question, or all items of a benchmark whose instruction comes first, are the same
tokens for most of their length. Here such items form groups; the keys and values of a group's prefix are
computed once, and every item goes on from there with its own tokens. In a causal model that is the same
computation up to the float noise of the matrix products.

Groups are runs of the items in the order of their tokens, cut where the number of tokens that the model
sees is smallest. Padding is on the right, as in `batches`; the padding that follows a shorter prefix is
masked, and positions count real tokens only.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from culnig.bound import BoundModel
from culnig.inference.answers import AnswerReader
from culnig.inference.batches import Batch, make_batches
from culnig.inference.encoding import EncodedItem
from culnig.outcomes import Outcomes

if TYPE_CHECKING:
    import torch

PAYS_BELOW = 0.9
"""Sharing is used where it leaves at most this share of the tokens."""
_GROUP_OVERHEAD = 4
"""Tokens that a group must save beyond what it costs: expanding its cache is not free."""
_LARGEST_GROUP = 64
_TOLERANCE = 1e-3
_HALF_TOLERANCE = 3e-2
"""Largest difference of a probability that is float noise, and the same for half precision."""


@dataclass(frozen=True)
class SharedBatch:
    """Groups of items that go through the model together, each group behind one prefix."""

    batch: Batch
    group_of: tuple[int, ...]
    """Number of the group of each item."""
    prefixes: tuple[tuple[int, ...], ...]
    """Token ids of each group's prefix."""

    @property
    def n_tokens(self) -> int:
        """Tokens that the model sees, padding included."""
        longest = max(map(len, self.prefixes))
        suffix = max(
            len(one.token_ids) - len(self.prefixes[group])
            for one, group in zip(self.batch.items, self.group_of, strict=True)
        )
        return len(self.prefixes) * longest + len(self.batch.items) * suffix


def share_prefixes(encoded: Sequence[EncodedItem], token_budget: int) -> list[SharedBatch | Batch] | None:
    """Batches that share prefixes, and plain ones for the other items; None where sharing does not pay.

    The prefixes of a batch and the rest of its items each have at most `token_budget` tokens, padding
    included.
    """
    if not encoded:
        return None
    groups = _groups(encoded, token_budget)
    shared = _pack([group for group in groups if len(group) > 1], encoded, token_budget)
    alone = [group[0] for group in groups if len(group) == 1]
    rest = [
        Batch(tuple(alone[number] for number in batch.numbers), batch.items)
        for batch in make_batches([encoded[number] for number in alone], token_budget)
    ]
    plain = sum(batch.n_tokens for batch in make_batches(encoded, token_budget))
    batches: list[SharedBatch | Batch] = [*shared, *rest]
    tokens = sum(batch.n_tokens for batch in batches)
    return batches if tokens <= PAYS_BELOW * plain else None


def _common(first: Sequence[int], second: Sequence[int]) -> int:
    """How many tokens two items have in common before the last of either."""
    limit = min(len(first), len(second)) - 1
    return next((place for place in range(limit) if first[place] != second[place]), limit)


def _groups(encoded: Sequence[EncodedItem], token_budget: int) -> list[list[int]]:
    """Items in groups, such that prefixes once and the rests of all items are the fewest tokens."""
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
            together = best[start] + total - (n - 1) * prefix + _GROUP_OVERHEAD
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
    """Groups of like lengths together, longest first, under the budget."""

    def lengths(group: list[int]) -> tuple[int, int]:
        ids = [encoded[number].token_ids for number in group]
        prefix = min(_common(ids[0], other) for other in ids[1:])
        return prefix, max(map(len, ids)) - prefix

    sized = sorted(((*lengths(group), group) for group in groups), reverse=True)
    packed: list[list[tuple[int, list[int]]]] = []
    suffix = n_items = 0
    for prefix, own, group in sized:
        new = not packed or (
            (len(packed[-1]) + 1) * packed[-1][0][0] > token_budget
            or (n_items + len(group)) * max(suffix, own) > token_budget
        )
        if new:
            packed.append([])
            suffix = n_items = 0
        packed[-1].append((prefix, group))
        suffix, n_items = max(suffix, own), n_items + len(group)
    return [_shared(members, encoded) for members in packed]


def _shared(members: list[tuple[int, list[int]]], encoded: Sequence[EncodedItem]) -> SharedBatch:
    numbers = tuple(number for _, group in members for number in group)
    return SharedBatch(
        Batch(numbers, tuple(encoded[number] for number in numbers)),
        tuple(place for place, (_, group) in enumerate(members) for _ in group),
        tuple(encoded[group[0]].token_ids[:prefix] for prefix, group in members),
    )


class PrefixReader:
    """Answers shared batches through an open AnswerReader."""

    def __init__(self, bound: BoundModel, reader: AnswerReader) -> None:
        self._bound = bound
        self._reader = reader

    def problem(self, batches: Sequence[SharedBatch | Batch]) -> str | None:
        """Why this model cannot share prefixes, or None; tried on a few items of the first batch."""
        reason = _unfit(self._bound)
        if reason is not None:
            return reason
        import torch

        shared = next((batch for batch in batches if isinstance(batch, SharedBatch)), None)
        if shared is None:
            return None
        trial = _trial(shared)
        with torch.inference_mode():
            alone = self._reader.logits(trial.batch).softmax(-1)
            together = self.logits(trial).softmax(-1)
        half = self._bound.model.dtype.itemsize < 4
        difference = float((alone - together).abs().max())
        if not difference <= (_HALF_TOLERANCE if half else _TOLERANCE):
            return f"its answers behind a stored prefix differ by {difference:.2g}"
        return None

    def logits(self, shared: SharedBatch) -> torch.Tensor:
        """Logits at the last real position, (item, vocabulary)."""
        import torch
        from transformers import DynamicCache

        device = next(self._bound.model.get_input_embeddings().parameters()).device
        prefix_ids, prefix_lengths = _padded(shared.prefixes)
        suffixes = [
            one.token_ids[len(shared.prefixes[group]) :]
            for one, group in zip(shared.batch.items, shared.group_of, strict=True)
        ]
        ids, lengths = _padded(suffixes)
        groups = torch.tensor(shared.group_of)
        cache = DynamicCache(config=self._bound.model.config)
        self._reader.forward(prefix_ids.to(device), prefix_lengths - 1, past_key_values=cache, use_cache=True)
        layers: Any = cache.layers
        for layer in layers:
            layer.batch_select_indices(groups.to(layer.keys.device))
        before = prefix_lengths[groups][:, None]  # real tokens of each item's prefix
        steps = torch.arange(ids.shape[1])[None, :]
        mask = torch.cat(
            [torch.arange(prefix_ids.shape[1])[None, :] < before, steps < lengths[:, None]], dim=1
        )
        return self._reader.forward(
            ids.to(device),
            lengths - 1,
            past_key_values=cache,
            use_cache=True,
            attention_mask=mask.long().to(device),
            position_ids=(before + torch.minimum(steps, lengths[:, None] - 1)).to(device),
        )

    def answer(self, shared: SharedBatch, outcomes: Outcomes) -> None:
        """Forward a batch without gradients and record its answers."""
        import torch

        with torch.inference_mode():
            self._reader.record(shared.batch, self.logits(shared).softmax(-1), outcomes)


def _trial(shared: SharedBatch) -> SharedBatch:
    """Two items of the longest prefix and one of the shortest, so that padding is tried too."""
    places = list(dict.fromkeys((0, 1, len(shared.group_of) - 1)))
    groups = sorted({shared.group_of[place] for place in places})
    return SharedBatch(
        Batch(
            tuple(shared.batch.numbers[place] for place in places),
            tuple(shared.batch.items[place] for place in places),
        ),
        tuple(groups.index(shared.group_of[place]) for place in places),
        tuple(shared.prefixes[group] for group in groups),
    )


def _padded(rows: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids padded on the right with 0, (row, token), and the length of each row."""
    import torch

    lengths = np.array([len(row) for row in rows], dtype=np.int64)
    ids = np.zeros((len(rows), int(lengths.max())), dtype=np.int64)
    for place, row in enumerate(rows):
        ids[place, : len(row)] = row
    return torch.from_numpy(ids), torch.from_numpy(lengths)


def _unfit(bound: BoundModel) -> str | None:
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
