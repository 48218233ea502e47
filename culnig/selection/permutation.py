"""Permutation tests on item scores, with whole questions as the units that are exchanged.

Where a run stores the score of every item, a test needs no normal distribution and no independence of items
that share a question: the items of one unit (culture and question) are averaged first, and whole units are
flipped or exchanged. p = (1 + permutations as high) / (1 + permutations), one-sided as in
culnig.selection.significance (Phipson and Smyth 2010: a p-value of zero is never right).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from culnig.errors import InputError

PERMUTATIONS = 9_999
_BLOCK = 1 << 15
"""Neurons at once, so that a block of permutations × neurons stays small."""
_ROUNDING = 1e-9
"""Permuted sums within this share of the observed scale count as equal: they add in another order."""


def paired_p_values(
    target: NDArray[Any],
    control: NDArray[Any],
    units: Sequence[str] | NDArray[Any],
    *,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
) -> NDArray[np.float64]:
    """Do target items score higher than their controls? p for each neuron, shape (neuron,).

    `target` and `control` are (item, neuron), row for row the same item with and without its question;
    `units` (item,) names what is flipped together. Null hypothesis: its sign is chance.
    """
    _check(target, units)
    if control.shape != target.shape:
        raise InputError(
            f"control is {control.shape}, target {target.shape}; a paired test needs the same items of both"
        )
    means = unit_sums(np.asarray(target, np.float64) - control, units)
    signs = np.ones((1 + permutations, len(means)), dtype=np.float64)
    signs[1:] -= 2.0 * np.random.default_rng(seed).integers(0, 2, size=(permutations, len(means)))
    return _p_values(signs, means)


def exchange_p_values(
    scores: NDArray[Any],
    own: NDArray[np.bool_],
    units: Sequence[str] | NDArray[Any],
    *,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
) -> NDArray[np.float64]:
    """Do the items of one culture score higher than the others'? p for each neuron, shape (neuron,).

    `scores` is (item, neuron), target or target − control; `own` (item,) marks the culture's items. The null
    hypothesis: which units belong to the culture is chance.
    """
    _check(scores, units)
    names, unit_of = np.unique(np.asarray(units, dtype=str), return_inverse=True)
    sizes = np.bincount(unit_of)
    owned = np.bincount(unit_of, weights=own) / sizes
    if np.any((owned > 0) & (owned < 1)):
        mixed = str(names[np.flatnonzero((owned > 0) & (owned < 1))[0]])
        raise InputError(f"unit {mixed!r} has items of both sides; name units by culture and question")
    marked = owned > 0
    if marked.all() or not marked.any():
        raise InputError("all items are on one side; a test needs items of the culture and of others")
    means = unit_sums(scores, units) / sizes[:, None]
    weights = np.where(marked, 1 / marked.sum(), -1 / (~marked).sum())
    generator = np.random.default_rng(seed)
    patterns = np.tile(weights, (1 + permutations, 1))
    generator.permuted(patterns[1:], axis=1, out=patterns[1:])
    return _p_values(patterns, means)


def unit_sums(scores: NDArray[Any], units: Sequence[str] | NDArray[Any]) -> NDArray[np.float64]:
    """Sum over the items of each unit, shape (unit, neuron), units in sorted order."""
    _, unit_of = np.unique(np.asarray(units, dtype=str), return_inverse=True)
    sums = np.zeros((int(unit_of.max(initial=-1)) + 1, scores.shape[1]))
    np.add.at(sums, unit_of, scores)
    return sums


def _p_values(patterns: NDArray[np.float64], means: NDArray[np.float64]) -> NDArray[np.float64]:
    """`patterns` (1 + permutation, unit), the first as observed; `means` (unit, neuron)."""
    p = np.empty(means.shape[1])
    for columns in _blocks(means.shape[1], len(patterns)):
        block = means[:, columns]
        observed = patterns[0] @ block
        noise = _ROUNDING * (np.abs(patterns[0]) @ np.abs(block))
        as_high = (patterns[1:] @ block >= observed - noise).sum(axis=0)
        p[columns] = (1 + as_high) / len(patterns)
    return p


def _blocks(n_neurons: int, n_patterns: int) -> Iterator[slice]:
    width = max(1, _BLOCK * 1_000 // max(1, n_patterns))
    for start in range(0, n_neurons, width):
        yield slice(start, start + width)


def _check(scores: NDArray[Any], units: Sequence[str] | NDArray[Any]) -> None:
    if scores.ndim != 2 or len(units) != len(scores) or not len(scores):
        raise InputError(
            f"scores have shape {scores.shape} for {len(units)} units; (item, neuron) with a unit for each "
            "of one or more items is needed"
        )
