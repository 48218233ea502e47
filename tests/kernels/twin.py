"""The kernels in plain numpy: slow, short, and written independently of the compiled code."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class Scored(NamedTuple):
    """The tables after one call of score_reduce."""

    sums: Array
    sums_of_squares: Array
    positive_counts: Array
    item_scores: Array
    peak_tokens: Array


def float32_of(numbers: Array) -> Array:
    """Numbers as float32; uint16 are the bits of bfloat16."""
    if numbers.dtype == np.uint16:
        return (numbers.astype(np.uint32) << 16).view(np.float32)
    return numbers.astype(np.float32)


def products(activation: Array, gradient: Array) -> Array:
    """Contribution of each item, token and neuron."""
    with np.errstate(all="ignore"):
        return float32_of(activation) * float32_of(gradient)


def score_of_item(contributions: Array, aggregator: str) -> tuple[Array, Array]:
    """Scores and peak tokens (indices among the given tokens) of one item's real tokens."""
    n_real = len(contributions)
    ranked_by = np.abs(contributions) if aggregator == "absmax" else contributions
    peak = np.argmax(ranked_by, axis=0)
    if aggregator == "last":
        peak = np.full(contributions.shape[1], n_real - 1)
    score = np.take_along_axis(contributions, peak[np.newaxis], axis=0)[0]
    if aggregator in ("sum", "mean"):
        total = np.zeros(contributions.shape[1])
        for row in contributions:
            total = total + row.astype(np.float64)
        with np.errstate(over="ignore"):
            score = (total / n_real if aggregator == "mean" else total).astype(np.float32)
    return score + np.float32(0), peak


def score_reduce(
    activation: Array,
    gradient: Array,
    token_mask: Array,
    weight: Array,
    culture_index: Array,
    n_cultures: int,
    aggregator: str,
    clamp: Array,
) -> Scored:
    """Tables of a batch, from zero."""
    n_items, _, n_neurons = activation.shape
    sums = np.zeros((n_cultures, n_neurons))
    squares = np.zeros((n_cultures, n_neurons))
    counts = np.zeros((n_cultures, n_neurons), dtype=np.uint32)
    scores = np.zeros((n_items, n_neurons), dtype=np.float32)
    peaks = np.full((n_items, n_neurons), -1, dtype=np.int32)
    contributions = products(activation, gradient)
    for item in range(n_items):
        real = np.flatnonzero(token_mask[item])
        if real.size == 0:
            continue
        scores[item], index = score_of_item(contributions[item, real], aggregator)
        peaks[item] = real[index]
        weighted = float(weight[item]) * scores[item].astype(np.float64)
        if clamp[item]:
            weighted = np.where(weighted > 0, weighted, 0.0)
        culture = culture_index[item]
        sums[culture] += weighted
        squares[culture] += weighted * weighted
        counts[culture] += weighted > 0
    return Scored(sums, squares, counts, scores, peaks)


def token_sums(activation: Array, gradient: Array, token_mask: Array) -> tuple[Array, Array, Array]:
    """Σ |activation|, positive tokens and √ Σ gradient² of every item and neuron."""
    n_items, n_tokens, n_neurons = activation.shape
    magnitude, squares = np.zeros((2, n_items, n_neurons))
    positive = np.zeros((n_items, n_neurons), dtype=np.int32)
    for item in range(n_items):
        for token in range(n_tokens):
            if token_mask[item, token]:
                wide = float32_of(activation[item, token]).astype(np.float64)
                magnitude[item] += np.abs(wide)
                positive[item] += wide > 0
                squares[item] += float32_of(gradient[item, token]).astype(np.float64) ** 2
    return magnitude.astype(np.float32), positive, np.sqrt(squares).astype(np.float32)


def non_finite(activation: Array, gradient: Array, token_mask: Array) -> tuple[int, int, int, int] | None:
    """Count and first index of non-finite contributions at real tokens."""
    wrong = ~np.isfinite(products(activation, gradient)) & token_mask[:, :, np.newaxis]
    indices = np.argwhere(wrong)
    return (len(indices), *map(int, indices[0])) if len(indices) else None


def order(scores: Array) -> Array:
    """Indices of one row, best first: higher first, ties to the lower index, NaN last."""
    missing = np.isnan(scores)
    return np.lexsort((np.where(missing, 0.0, -scores), missing))  # stable, last key first


def top_k(scores: Array, k: int, excluded: Array) -> Array:
    """The k best of one row that are not excluded, padded with -1."""
    ranked = order(scores)
    best = ranked[~excluded[ranked]][:k]
    return np.append(best, np.full(k - len(best), -1))


def rank(
    target: Array, control: Array, exclusion: Array, pool: Array, count: int, exclusion_count: int
) -> tuple[Array, Array]:
    """Indices and differences that one pool of one row keeps."""
    pool = np.sort(pool)
    difference = target - control
    kept = pool[order(difference[pool])][:count]
    removed = set(pool[order(exclusion[pool])][:exclusion_count].tolist())
    indices = np.array([n for n in kept.tolist() if n not in removed], dtype=np.int64)
    return indices, difference[indices]
