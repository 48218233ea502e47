"""How much arithmetic a run takes, and how large its files become."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from culnig.inference.batches import batch_shapes
from culnig.inference.encoding import EncodedItem
from culnig.models.base import BoundModel
from culnig.planning.tracing import batch_flops
from culnig.scoring.portions import batches_in_turns, split_batches
from culnig.store.item_scores import item_bytes

CELL_BYTES = 8 + 8 + 0.03
"""On disk, per culture and neuron: two float64 sums and a uint32 count, which gzip makes almost vanish
(measured on the embedded model)."""
TOTAL_BYTES = 8
"""On disk, per benchmark and neuron: the sum over cultures."""
ITEM_ROW_BYTES = 400
FILE_BYTES = 30_000
"""Answers of one item, and the bytes of a file apart from its tables."""


@dataclass(frozen=True)
class BenchmarkSize:
    """The sizes of a benchmark that a plan needs."""

    n_cultures: int
    lengths: Sequence[int]
    """Tokens of each prompt, with the gold option's text where options are read as texts."""
    text_lengths: Sequence[int] = ()
    """Tokens of each prompt with another option's text; they are read without gradients."""
    n_targets: int = 0
    """Tokens of all texts, each of which needs logits of its own."""

    @classmethod
    def of(cls, encoded: Sequence[EncodedItem]) -> BenchmarkSize:
        """The size of encoded items."""
        texts = [(own, row) for own in encoded if own.texts for row in own.by_option()]
        return cls(
            len({each.item.culture for each in encoded}),
            [len(each.token_ids) for each in encoded],
            tuple(len(row.token_ids) for own, row in texts if row.read != own.read),
            sum(len(row.targets) for _, row in texts),
        )

    @property
    def n_tokens(self) -> int:
        """Tokens of all prompts."""
        return int(sum(self.lengths))


@dataclass(frozen=True)
class DiskPlan:
    """Bytes of a run folder at each level of detail."""

    culture: int
    """Culture sums and answers: always."""
    item: int
    """Also a float32 score and the peak token of every item and neuron, before compression."""
    token: int
    """As `culture`, and activation and gradient at every token in the model's dtype, before compression."""


def plan_disk(skeleton: BoundModel, benchmarks: Sequence[BenchmarkSize]) -> DiskPlan:
    """Files of a run over these benchmarks that stores all items, modules and layers."""
    n_neurons = skeleton.layout.n_neurons
    n_items = sum(len(benchmark.lengths) for benchmark in benchmarks)
    n_tokens = sum(benchmark.n_tokens for benchmark in benchmarks)
    culture = culture_bytes(skeleton, benchmarks)
    return DiskPlan(
        culture=culture,
        item=culture + n_items * item_bytes(n_neurons, "float32", max_length(benchmarks)),
        token=culture + n_tokens * n_neurons * 2 * skeleton.model.dtype.itemsize,
    )


def culture_bytes(skeleton: BoundModel, benchmarks: Sequence[BenchmarkSize]) -> int:
    """Bytes of `scores.h5`."""
    rows = sum(benchmark.n_cultures for benchmark in benchmarks)
    n_items = sum(len(benchmark.lengths) for benchmark in benchmarks)
    each = rows * CELL_BYTES + len(benchmarks) * TOTAL_BYTES
    return int(each * skeleton.layout.n_neurons) + FILE_BYTES + ITEM_ROW_BYTES * n_items


def parts_bytes(
    skeleton: BoundModel,
    benchmarks: Sequence[BenchmarkSize],
    token_budget: int,
    *,
    in_turns: bool = False,
) -> int:
    """Most bytes of the parts that an unfinished run keeps, of processes that run in turns or not."""
    n_batches = [len(batch_shapes(benchmark.lengths, token_budget)) for benchmark in benchmarks]
    longest = batches_in_turns(sum(n_batches)) if in_turns else None
    cells = sum(
        len(split_batches(n, longest=longest)) * benchmark.n_cultures
        for n, benchmark in zip(n_batches, benchmarks, strict=True)
    )
    return int(cells * skeleton.layout.n_neurons * CELL_BYTES)


def max_length(benchmarks: Sequence[BenchmarkSize]) -> int:
    """Tokens of the longest prompt."""
    return max((length for benchmark in benchmarks for length in benchmark.lengths), default=0)


def run_flops(skeleton: BoundModel, benchmarks: Sequence[BenchmarkSize]) -> int:
    """Floating-point operations of scoring these benchmarks, forward and backward, padding not counted.

    A prompt of T tokens costs b·T + a·T² (linear modules and attention; the head, which sees one token, is
    part of b). Both are fitted to traces of the longest prompt and of half its length. Texts that are only
    read cost the forward pass, half of that.
    """
    lengths = np.array([length for benchmark in benchmarks for length in benchmark.lengths], dtype=float)
    longest = max(2, int(lengths.max(initial=0)))
    half = longest // 2
    cost, half_cost = (batch_flops(skeleton, 1, length) / length for length in (longest, half))
    square = (cost - half_cost) / (longest - half)
    linear = cost - square * longest
    texts = np.array([length for benchmark in benchmarks for length in benchmark.text_lengths], dtype=float)
    scored, read = (np.sum(linear * each + square * each**2) for each in (lengths, texts))
    return int(scored + read / 2)
