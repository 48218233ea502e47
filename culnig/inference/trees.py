"""Shared prompts: prompts that begin alike, as trees of tokens that the model reads in one pass.

The five rows of a BLEnD question, or all items of a benchmark whose instruction comes first, have most of
their tokens in common. Here such items share a row, sorted by their tokens, and each adds only the tokens
that the item before it does not have. The row is a tree in which every token follows its parent. A token
attends to its ancestors alone, through the attention mask, and its position is its depth, so every item is
read as if it were alone, up to the float noise of the matrix products. There is no cache, and little padding:
rows are filled to one length.

Longer rows share more and cost more attention, so several lengths are tried and the cheapest is used.

Evaluation alone reads trees. Scoring needs a gradient per item at every token, so only the forward pass of a
shared prefix could be saved there: that took 0.82 of the time on BLEnD on a CPU and would be slower on a GPU.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from culnig.inference.answers import AnswerReader
from culnig.inference.batches import Batch, ModelInputs, make_batches, split_by_budget
from culnig.inference.encoding import EncodedItem
from culnig.inference.option_texts import n_common
from culnig.models.base import BoundModel

PAYS_BELOW = 0.9
"""Sharing is worth considering if that leaves at most this fraction of the work."""
LONGEST_ROW = 2048
"""Most tokens of a row: the mask grows with their square."""
_ROW_STEP = 64
_REACH = 2000
"""Row length at which attention costs as much per token as everything else (SmolLM2 on a CPU: 2,300; models
with wider layers: more)."""
_TRIAL_TOKENS = 16
_TOLERANCE = 1e-3
_HALF_PRECISION_TOLERANCE = 3e-2
"""Largest difference of a probability that counts as float noise, in float32 and in half precision."""


@dataclass(frozen=True)
class TreeBatch:
    """Rows of items that go through the model together, each row one tree."""

    trees: tuple[Batch, ...]
    """The items of each row, in the order of their tokens."""

    @property
    def numbers(self) -> tuple[int, ...]:
        """Indices of the items in file order."""
        return tuple(number for tree in self.trees for number in tree.numbers)

    @property
    def items(self) -> tuple[EncodedItem, ...]:
        """The items, row after row."""
        return tuple(item for tree in self.trees for item in tree.items)

    @property
    def item_ids(self) -> tuple[str, ...]:
        """Ids of the items, row after row."""
        return tuple(item_id for tree in self.trees for item_id in tree.item_ids)

    @property
    def n_tokens(self) -> int:
        """Tokens that the model sees, padding included."""
        return len(self.trees) * self.longest

    @property
    def longest(self) -> int:
        """Tokens of the longest row."""
        return max(_size([item.token_ids for item in tree.items]) for tree in self.trees)

    def renumbered(self, numbers: Sequence[int]) -> TreeBatch:
        """The batch with item i renumbered to `numbers[i]`."""
        return TreeBatch(tuple(tree.renumbered(numbers) for tree in self.trees))

    def halves(self) -> tuple[TreeBatch, TreeBatch]:
        """The batch as two, whole rows where there are several; for batches of at least two items."""
        if len(self.trees) > 1:
            middle = (len(self.trees) + 1) // 2
            return TreeBatch(self.trees[:middle]), TreeBatch(self.trees[middle:])
        first, second = self.trees[0].halves()
        return TreeBatch((first,)), TreeBatch((second,))

    def inputs(self) -> ModelInputs:
        """What the model reads; padding attends to itself."""
        import torch

        longest = self.longest
        token_ids = np.zeros((len(self.trees), longest), dtype=np.int64)
        positions = np.zeros_like(token_ids)
        visible = np.zeros((len(self.trees), longest, longest), dtype=np.bool_)
        visible[:] = np.eye(longest, dtype=np.bool_)
        rows, read = [], []
        for row, tree in enumerate(self.trees):
            own = _grow(tree.items, token_ids[row], positions[row], visible[row])
            rows += [row] * len(own)
            read += own
        return ModelInputs(
            torch.from_numpy(token_ids),
            torch.tensor(rows),
            torch.tensor(read),
            torch.from_numpy(positions),
            torch.from_numpy(visible[:, None]),
        )


def _grow(
    items: Sequence[EncodedItem],
    token_ids: NDArray[np.int64],
    positions: NDArray[np.int64],
    visible: NDArray[np.bool_],
) -> list[int]:
    """Write the tree of `items` into a row; the indices of the tokens that are read, item by item."""
    branch = np.empty(0, dtype=np.int64)  # indices of the tokens of the item before
    before: tuple[int, ...] = ()
    begin, read = 0, list[int]()
    for item in items:
        ids = item.token_ids
        common = n_common(before, ids)
        end = begin + len(ids) - common
        token_ids[begin:end] = ids[common:]
        positions[begin:end] = np.arange(common, len(ids))
        visible[begin:end, branch[:common]] = True
        visible[begin:end, begin:end] = np.tri(end - begin, dtype=np.bool_)
        branch = np.concatenate([branch[:common], np.arange(begin, end)])
        read += branch[-len(item.targets) :].tolist()
        before, begin = ids, end
    return read


def _size(prompts: Sequence[Sequence[int]]) -> int:
    """Tokens of the tree of prompts that are sorted by their tokens."""
    return sum(map(len, prompts)) - sum(n_common(*pair) for pair in itertools.pairwise(prompts))


def share_prefixes(encoded: Sequence[EncodedItem], token_budget: int) -> list[TreeBatch] | None:
    """Batches of trees of at most `token_budget` tokens, padding included; None if sharing does not pay.

    An item of more tokens goes alone.
    """
    if not encoded:
        return None
    order = sorted(range(len(encoded)), key=lambda number: (encoded[number].token_ids, number))
    prompts = [encoded[number].token_ids for number in order]
    lengths = [len(prompt) for prompt in prompts]
    common = [0, *(n_common(*pair) for pair in itertools.pairwise(prompts))]
    best: tuple[float, list[list[int]], list[list[int]]] | None = None
    for limit in _limits(token_budget):
        rows, sizes = _fill(lengths, common, limit)
        batches = split_by_budget(sizes, token_budget)
        work = _work((len(batch), sizes[batch[0]]) for batch in batches)
        if best is None or work < best[0]:
            best = work, rows, batches
    assert best is not None
    work, rows, batches = best
    if work > PAYS_BELOW * _work(_shapes(make_batches(encoded, token_budget))):
        return None

    def tree(row: list[int]) -> Batch:
        numbers = tuple(order[index] for index in row)
        return Batch(numbers, tuple(encoded[number] for number in numbers))

    return [TreeBatch(tuple(tree(rows[row]) for row in batch)) for batch in batches]


def relative_work(shared: Sequence[TreeBatch], unshared: Sequence[Batch]) -> float:
    """Estimated work on trees as a fraction of that on the same items in whole prompts."""
    return _work((len(batch.trees), batch.longest) for batch in shared) / _work(_shapes(unshared))


def _shapes(batches: Iterable[Batch]) -> Iterable[tuple[int, int]]:
    return ((len(batch.items), int(batch.lengths.max())) for batch in batches)


def _limits(token_budget: int) -> range:
    """Lengths that rows are filled to."""
    return range(_ROW_STEP, max(_ROW_STEP, min(token_budget, LONGEST_ROW)) + 1, _ROW_STEP)


def _fill(lengths: Sequence[int], common: Sequence[int], limit: int) -> tuple[list[list[int]], list[int]]:
    """Rows of at most `limit` tokens, or of one longer item, in the order given; and their tokens."""
    rows: list[list[int]] = []
    sizes: list[int] = []
    for index, (length, shared) in enumerate(zip(lengths, common, strict=True)):
        if rows and sizes[-1] + length - shared <= limit:
            rows[-1].append(index)
            sizes[-1] += length - shared
        else:
            rows.append([index])
            sizes.append(length)
    return rows, sizes


def _work(batches: Iterable[tuple[int, int]]) -> float:
    """Work on batches, given as (rows, tokens per row), in units of one token without attention."""
    return sum(rows * longest * (1 + longest / _REACH) for rows, longest in batches)


def sharing_problem(bound: BoundModel, reader: AnswerReader, batches: Sequence[TreeBatch]) -> str | None:
    """The reason why this model cannot read trees, or None; tested on a few items of the first batch."""
    longest = max((len(item.token_ids) for batch in batches for item in batch.items), default=0)
    reason = _unfit(bound, longest)
    if reason is not None or not batches:
        return reason
    import torch

    trial = _trial(batches[0].items[0])
    with torch.inference_mode():
        alone = reader.logits(Batch(trial.numbers, trial.items)).softmax(-1)
        try:
            together = reader.logits(trial).softmax(-1)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # some families read the mask in a way of their own
            return f"it cannot read their mask ({type(error).__name__})"
    half_precision = bound.model.dtype.itemsize < 4
    difference = float((alone - together).abs().max())
    if not difference <= (_HALF_PRECISION_TOLERANCE if half_precision else _TOLERANCE):
        return f"its answers to prompts that share tokens differ by {difference:.2g}"
    return None


def _trial(item: EncodedItem) -> TreeBatch:
    """Three prompts from the beginning and the end of an item: two share a row, the third is padded."""
    ids = item.token_ids
    begin, end = ids[:_TRIAL_TOKENS], ids[-_TRIAL_TOKENS:]
    prompts = (begin + end, begin + end[_TRIAL_TOKENS // 2 :], end)
    first, second, third = (EncodedItem.of_prompt(prompt, item.item.id) for prompt in prompts)
    return TreeBatch((Batch((0, 1), (first, second)), Batch((2,), (third,))))


def _unfit(bound: BoundModel, longest: int) -> str | None:
    """Why a mask cannot control which tokens a token of this model attends to; None if it can."""
    model: Any = bound.model
    missing = {"position_ids", "attention_mask", "use_cache"} - set(
        inspect.signature(model.forward).parameters
    )
    if missing:
        return f"its forward takes no {', '.join(sorted(missing))}"
    settings = model.config.get_text_config()
    attention = settings._attn_implementation
    if attention not in ("sdpa", "eager"):
        return f"its attention {attention} takes no mask of single tokens; sdpa does"
    mixers = [module for module in bound.layout.modules if not module.startswith(("self_attn.", "mlp."))]
    if mixers:
        return f"a state goes from token to token in {mixers[0].partition('.')[0]}"
    layers = getattr(settings, "layer_types", None) or getattr(settings, "attention_layers", None) or ()
    kinds = set(layers) if isinstance(layers, list | tuple) else set()
    unknown = sorted(kinds - {"full_attention", "sliding_attention", "global"})
    if unknown:
        return f"it has layers of {', '.join(unknown)}"
    window = getattr(settings, "sliding_window", None)
    if window is not None and longest > window:
        return f"some prompts are longer ({longest} tokens) than its sliding window of {window}"
    return None
