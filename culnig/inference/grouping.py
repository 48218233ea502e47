"""Which items share a prefix, and which groups go through the model together.

The five rows of a BLEnD question, or all items of a benchmark whose instruction comes first, are the same
tokens for most of their length. Groups are runs of the items in the order of their tokens, cut where the work
is smallest; batches are runs of the groups in the order of their lengths, cut where padding and passes cost
least.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

from culnig.inference.batches import Batch, make_batches
from culnig.inference.encoding import EncodedItem, common_tokens
from culnig.inference.shared_batches import ONE_WAY, SharedBatch, best_runs, pass_work, total_work

PAYS_BELOW = 0.9
"""Sharing is used where it leaves at most this share of the work."""
_GROUP_OVERHEAD = 4
"""Tokens that a group must save beyond what it costs: expanding its cache is not free."""
_LARGEST_GROUP = 16
"""Larger ones would save little more, and the backward passes of several groups run side by side."""


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
    return [order[run] for run in best_runs(begins)]


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
            overhead = pass_work(ways + 2 * math.ceil(n_items * rest / token_budget))
            here = best[start] + ONE_WAY * ways * n_groups * prefix + overhead
            if here < cost:
                cost, begin = here, start
        best.append(cost)
        begins.append(begin)
    return [groups[run] for run in best_runs(begins)]


def _shared(members: list[_Group], encoded: Sequence[EncodedItem]) -> SharedBatch:
    numbers = tuple(number for group in members for number in group.numbers)
    return SharedBatch(
        Batch(numbers, tuple(encoded[number] for number in numbers)),
        tuple(place for place, group in enumerate(members) for _ in group.numbers),
        tuple(encoded[group.numbers[0]].token_ids[: group.prefix] for group in members),
    )
