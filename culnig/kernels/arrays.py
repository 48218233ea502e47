"""The compiled kernels on numpy arrays: scoring, sums over tokens, top-k and ranking.

Every argument is checked first (culnig.kernels.arguments), and a refused one is named with its value. The
arithmetic is fixed (csrc/core/score.h) and so is the order of additions: equal inputs give equal bits,
whatever the number of threads. Views are read where they lie; only an array whose neurons are not side
by side is copied. Torch is not imported; culnig.kernels offers the same on tensors of any device.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from culnig.errors import EnvironmentProblem, InputError, NonFiniteError
from culnig.kernels import arguments as checked
from culnig.kernels.arguments import AGGREGATORS, DTYPES

try:
    from culnig import _core
except ModuleNotFoundError as error:  # any other ImportError is a broken build: let it surface
    raise ModuleNotFoundError(
        "culnig._core is missing: was the package built? In a checkout run `pip install -e .`, or "
        "the cmake lines at the top of CMakeLists.txt",
        name="culnig._core",
    ) from error

__all__ = [
    "AGGREGATORS",
    "DTYPES",
    "Ranked",
    "TokenSums",
    "add_scores",
    "rank",
    "score_reduce",
    "thread_count",
    "token_sums",
    "top_k",
]

Array = NDArray[Any]


class Ranked(NamedTuple):
    """Neurons of one row and pool, best first."""

    positions: NDArray[np.int64]
    """Flat positions."""
    differences: NDArray[np.float64]
    """target - control there."""


class TokenSums(NamedTuple):
    """What activations and gradients amount to over the real tokens of items, each (item, neuron)."""

    magnitude: NDArray[np.float32]
    """Σ |activation|."""
    positive_tokens: NDArray[np.int32]
    """Tokens with activation > 0."""
    gradient_norm: NDArray[np.float32]
    """√ Σ gradient²."""


def thread_count(threads: int | None = None) -> int:
    """Threads for a kernel: the argument, else CULNIG_THREADS, else torch's setting, else the CPUs."""
    if threads is not None:
        if threads < 1:
            raise InputError(f"threads is {threads}; it must be at least 1")
        return threads
    asked = os.environ.get("CULNIG_THREADS", "").strip()
    if asked:
        if not asked.isdecimal() or int(asked) < 1:
            raise EnvironmentProblem(
                f"CULNIG_THREADS is {asked!r}; set it to a whole number from 1, or unset it"
            )
        return int(asked)
    torch = sys.modules.get("torch")
    if torch is not None and hasattr(torch, "get_num_threads"):
        return int(torch.get_num_threads())
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def score_reduce(
    activation: Array,
    gradient: Array,
    token_mask: ArrayLike | None = None,
    confidence: ArrayLike = (),
    culture_index: ArrayLike = (),
    *,
    sums: NDArray[np.float64],
    sums_of_squares: NDArray[np.float64] | None = None,
    positive_counts: NDArray[np.uint32] | None = None,
    item_scores: NDArray[np.float32] | None = None,
    peak_tokens: NDArray[np.int32] | None = None,
    lengths: ArrayLike | None = None,
    padding: str = "left",
    aggregator: str = "max",
    clamp_at_zero: bool | ArrayLike = False,
    dtype: str | None = None,
    threads: int | None = None,
) -> None:
    """Score every neuron for every item of a batch and add to culture sums (METHOD, score).

    `activation` and `gradient` are (item, token, neuron), float32 or float16, or uint16 with
    `dtype="bfloat16"`. Real tokens are given by `token_mask` (item, token), or by `lengths` (item,)
    and the side of the `padding`. `confidence` (item,) is P(y|x), `culture_index` (item,) the row to
    add to.

    `sums`, `sums_of_squares` (float64) and `positive_counts` (uint32) are (culture, neuron) and added
    into. `item_scores` (item, neuron) float32 receives the scores before confidence and clamp,
    `peak_tokens` (item, neuron) int32 the token that gave each score (-1 where an item has no real
    token; for sum and mean the token of the largest contribution). `clamp_at_zero`, for all or per
    item, drops negative weighted scores.

    InputError names a refused argument. NonFiniteError: NaN or infinity at a real token; nothing was
    added then, and `item_scores` and `peak_tokens` hold no meaning.
    """
    number_format = checked.number_format(activation, gradient, dtype)
    n_items, n_tokens, n_neurons = activation.shape
    by_item = (n_items, n_neurons)
    found = _core.score_reduce(
        checked.side_by_side(activation),
        checked.side_by_side(gradient),
        DTYPES.index(number_format),
        AGGREGATORS.index(checked.one_of("aggregator", aggregator, AGGREGATORS)),
        checked.real_tokens(token_mask, lengths, padding, (n_items, n_tokens)),
        *checked.items(confidence, culture_index, clamp_at_zero, n_items, sums),
        *checked.sums(sums, sums_of_squares, positive_counts, n_neurons),
        checked.optional_table("item_scores", item_scores, by_item, np.float32),
        checked.optional_table("peak_tokens", peak_tokens, by_item, np.int32),
        thread_count(threads),
    )
    if found is not None:
        raise NonFiniteError(*found)


def add_scores(
    item_scores: NDArray[np.float32],
    confidence: ArrayLike,
    culture_index: ArrayLike,
    *,
    sums: NDArray[np.float64],
    sums_of_squares: NDArray[np.float64] | None = None,
    positive_counts: NDArray[np.uint32] | None = None,
    clamp_at_zero: bool | ArrayLike = False,
    threads: int | None = None,
) -> None:
    """Add item scores (item, neuron) to culture sums: the second half of `score_reduce`, alike in bits."""
    if item_scores.ndim != 2 or item_scores.dtype != np.float32:
        raise InputError(
            f"item_scores is {item_scores.dtype} of shape {item_scores.shape}; float32 "
            "(item, neuron) is allowed"
        )
    n_items, n_neurons = item_scores.shape
    _core.add_scores(
        checked.side_by_side(item_scores),
        *checked.items(confidence, culture_index, clamp_at_zero, n_items, sums),
        *checked.sums(sums, sums_of_squares, positive_counts, n_neurons),
        thread_count(threads),
    )


def token_sums(
    activation: Array,
    gradient: Array,
    token_mask: ArrayLike | None = None,
    *,
    lengths: ArrayLike | None = None,
    padding: str = "left",
    dtype: str | None = None,
    threads: int | None = None,
) -> TokenSums:
    """Sums over the real tokens of every item, from one read of both arrays.

    Arguments are those of `score_reduce`. Elements are added in float64, in token order, and rounded to
    float32 at the end; an item without real tokens has zeros. InputError names a refused argument. Elements
    that are not finite are not looked for: `score_reduce` does that.
    """
    number_format = checked.number_format(activation, gradient, dtype)
    n_items, n_tokens, _ = activation.shape
    return TokenSums(
        *_core.token_sums(
            checked.side_by_side(activation),
            checked.side_by_side(gradient),
            DTYPES.index(number_format),
            checked.real_tokens(token_mask, lengths, padding, (n_items, n_tokens)),
            thread_count(threads),
        )
    )


def top_k(
    scores: Array, k: int, excluded: ArrayLike | None = None, threads: int | None = None
) -> NDArray[np.int64]:
    """Positions of the k best of each row: higher first, ties to the lower position, NaN last.

    `scores` is (row, neuron) or (neuron,), float64 or float32; `excluded` (neuron,) or (row, neuron)
    bool is never chosen. Returns (row, k), or (k,) for one row; a row with fewer candidates ends in
    -1. InputError names a refused argument.
    """
    if scores.dtype not in (np.float32, np.float64) or scores.ndim not in (1, 2):
        raise InputError(
            f"scores is {scores.dtype} of shape {scores.shape}; float64 or float32, (row, neuron) or "
            "(neuron,), is allowed"
        )
    rows = scores if scores.ndim == 2 else scores[np.newaxis]
    n_neurons = rows.shape[1]
    if not 0 <= k <= n_neurons:
        raise InputError(f"k is {k}; from 0 to the number of neurons, {n_neurons}, is allowed")
    barred = None if excluded is None else checked.excluded_neurons(excluded, rows.shape)
    best = _core.top_k(checked.side_by_side(rows), k, barred, thread_count(threads))
    return best if scores.ndim == 2 else best[0]


def rank(
    target: NDArray[np.float64],
    control: NDArray[np.float64],
    *,
    pools: Sequence[ArrayLike | Sequence[tuple[int, int]]],
    counts: Sequence[int],
    exclusion: NDArray[np.float64] | None = None,
    exclusion_counts: Sequence[int] | None = None,
    threads: int | None = None,
) -> list[list[Ranked]]:
    """Rank the neurons of each pool by target - control and remove those that the exclusion marks.

    `target` and `control` are (row, neuron) float64; `exclusion` (row, neuron), or (1, neuron) for
    all rows alike. A pool is an array of flat positions (position,) or a list of `(start, width)`
    segments. In each row and pool p the `counts[p]` best by target - control are kept, then those
    among the `exclusion_counts[p]` best of the same pool by exclusion score are removed; the gap is
    not filled (METHOD, culture-general neurons). The order is that of `top_k`.

    Returns `result[row][pool]`, neurons in rank order. InputError names a refused argument.
    """
    checked.score_table("target", target)
    checked.score_table("control", control, [target.shape])
    if (exclusion is None) != (exclusion_counts is None):
        raise InputError("exclusion and exclusion_counts go together; give both or neither")
    segments = [checked.pool_segments(i, pool, target.shape[1]) for i, pool in enumerate(pools)]
    widths = [int(pool[:, 1].sum()) for pool in segments]
    kept = checked.pool_counts("counts", counts, widths)
    removed = [0] * len(widths)
    rows_of_exclusion = None
    if exclusion is not None and exclusion_counts is not None:
        removed = checked.pool_counts("exclusion_counts", exclusion_counts, widths)
        checked.score_table("exclusion", exclusion, [target.shape, (1, target.shape[1])])
        rows_of_exclusion = np.broadcast_to(checked.side_by_side(exclusion), target.shape)
    flat = _core.rank(
        checked.side_by_side(target),
        checked.side_by_side(control),
        rows_of_exclusion,
        segments,
        kept,
        removed,
        thread_count(threads),
    )
    ranked = iter(flat)
    return [[Ranked(*next(ranked)) for _ in segments] for _ in range(target.shape[0])]
