"""How much arithmetic a run is, and how large its files become."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from culnig.core.items import Item
from culnig.inference.batches import Batch, make_batches, split_by_budget
from culnig.inference.encoding import EncodedItem
from culnig.inference.grouping import share_prefixes
from culnig.inference.prefixes import unfit
from culnig.inference.shared_batches import SharedBatch, total_work, whole
from culnig.models.base import BoundModel
from culnig.planning.tracing import batch_flops
from culnig.scoring.portions import split_batches
from culnig.store.item_scores import item_bytes

SUM_BYTES = 6.7
SQUARE_BYTES = 7.04
COUNT_BYTES = 0.013
CELL_BYTES = SUM_BYTES + SQUARE_BYTES + COUNT_BYTES
"""On disk, of one culture and neuron: float64 sums and uint32 counts after Blosc2-zstd, measured on the
embedded model. Mantissas hardly compress and counts almost vanish, whatever the model."""
ITEM_ROW_BYTES = 400
FILE_BYTES = 30_000
"""Answers of one item, and what a file holds beside its tables."""


@dataclass(frozen=True)
class BenchmarkSize:
    """What a plan has to know of a benchmark."""

    n_cultures: int
    lengths: Sequence[int]
    """Tokens of each prompt."""
    prompts: Sequence[tuple[int, ...]] = ()
    """Token ids of each prompt, where they are known: prompts that begin alike share that part."""

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
    """Beside them a float32 score and the peak token of every item and neuron, before compression."""
    token: int
    """Beside them activation and gradient at every token in the model's dtype, before compression."""


def shared_batches(
    skeleton: BoundModel, benchmark: BenchmarkSize, token_budget: int
) -> list[SharedBatch | Batch] | None:
    """The batches of a benchmark whose prompts share prefixes; None where they do not."""
    if unfit(skeleton) is not None:
        return None
    item = Item("planned", "planned", "general", "identify", "", ("A", "B"), "A")
    encoded = [EncodedItem(item, ids, 0, (0, 1)) for ids in benchmark.prompts]
    return share_prefixes(encoded, token_budget)


def share_of_work(skeleton: BoundModel, benchmarks: Sequence[BenchmarkSize], token_budget: int) -> float:
    """What sharing prefixes leaves of the work, from 0 to 1."""
    left = 0.0
    for benchmark in benchmarks:
        shared = shared_batches(skeleton, benchmark, token_budget)
        share = 1.0
        if shared is not None:
            prompts = [one for batch in shared for one in whole(batch).items]
            share = total_work(shared, token_budget) / total_work(
                make_batches(prompts, token_budget), token_budget
            )
        left += share * benchmark.n_tokens
    return left / max(1, sum(benchmark.n_tokens for benchmark in benchmarks))


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
    return int(rows * skeleton.layout.n_neurons * CELL_BYTES) + FILE_BYTES + ITEM_ROW_BYTES * n_items


def parts_bytes(skeleton: BoundModel, benchmarks: Sequence[BenchmarkSize], token_budget: int) -> int:
    """Most bytes of the parts that lie beside `scores.h5` until a run is finished."""
    cells = sum(
        len(split_batches(len(split_by_budget(benchmark.lengths, token_budget)))) * benchmark.n_cultures
        for benchmark in benchmarks
    )
    return int(cells * skeleton.layout.n_neurons * CELL_BYTES)


def max_length(benchmarks: Sequence[BenchmarkSize]) -> int:
    """Tokens of the longest prompt."""
    return max((length for benchmark in benchmarks for length in benchmark.lengths), default=0)


def run_flops(skeleton: BoundModel, benchmarks: Sequence[BenchmarkSize]) -> int:
    """Floating-point operations of scoring these benchmarks, forward and backward, padding not counted.

    A prompt of T tokens costs b·T + a·T² (linear modules and attention; the head, which sees one token, goes
    into b): traced at the longest prompt and at half of it.
    """
    lengths = np.array([length for benchmark in benchmarks for length in benchmark.lengths], dtype=float)
    longest = max(2, int(lengths.max(initial=0)))
    half = longest // 2
    cost, half_cost = (batch_flops(skeleton, 1, length) / length for length in (longest, half))
    square = (cost - half_cost) / (longest - half)
    linear = cost - square * longest
    return int(np.sum(linear * lengths + square * lengths**2))
