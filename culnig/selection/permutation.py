"""Permutation tests on item scores that exchange whole questions.

If a run stores the score of every item, a test needs neither a normal distribution nor independent items: the
items of one unit (culture and question) are combined first, and whole units are flipped or exchanged.
p = (1 + permutations at least as high) / (1 + permutations), one-sided as in culnig.selection.significance
(Phipson and Smyth 2010: a permutation p-value is never zero).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from culnig.errors import InputError

PERMUTATIONS = 9_999
_BLOCK = 1 << 15
"""Thousands of permutation × neuron cells in one block."""
_ROUNDING = 1e-9
"""Relative tolerance for equal sums, which permutations add up in another order."""


def paired_p_values(
    target: NDArray[Any],
    control: NDArray[Any],
    units: Sequence[str] | NDArray[Any],
    *,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
) -> NDArray[np.float64]:
    """Do target items score higher than their controls? p of each neuron, shape (neuron,).

    `target` and `control` are (item, neuron); each row is the same item with and without its question.
    `units` (item,) names the unit of each item. Null hypothesis: the sign of a unit's difference is random.
    """
    _check(target, units)
    if control.shape != target.shape:
        raise InputError(
            f"control has shape {control.shape}, target {target.shape}; a paired test needs the same items "
            "in both"
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
    """Do a culture's items score higher than other cultures'? p of each neuron, shape (neuron,).

    `scores` is (item, neuron), target or target − control; `own` (item,) marks the culture's items. Null
    hypothesis: which units belong to the culture is random.
    """
    _check(scores, units)
    names, unit_of = np.unique(np.asarray(units, dtype=str), return_inverse=True)
    sizes = np.bincount(unit_of)
    owned = np.bincount(unit_of, weights=own) / sizes
    if np.any((owned > 0) & (owned < 1)):
        mixed = str(names[np.flatnonzero((owned > 0) & (owned < 1))[0]])
        raise InputError(
            f"unit {mixed!r} has items of the culture and of others; name units by culture and question"
        )
    marked = owned > 0
    if marked.all() or not marked.any():
        raise InputError("all items are on one side; give items of the culture and of other cultures")
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
    """`patterns` is (1 + permutation, unit), the observed one first; `means` is (unit, neuron)."""
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
            f"scores have shape {scores.shape} with {len(units)} units; give (item, neuron) with at least "
            "one item, and one unit per item"
        )
