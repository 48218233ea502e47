"""Permutation tests on item scores that exchange whole questions.

If a run stores the score of every item, a test needs neither a normal distribution nor independent items:
whole questions, with their rows, wordings, languages and cultures, are flipped, and a culture is exchanged
with the others within each question.
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
    cultures: Sequence[str] | NDArray[Any],
    own: str,
    units: Sequence[str] | NDArray[Any],
    *,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
) -> NDArray[np.float64]:
    """Do the items of the culture `own` score higher than other cultures'? p of each neuron, shape (neuron,).

    `scores` is (item, neuron), target or target − control; `cultures` and `units` (item,) name the culture
    and the question of each item. Null hypothesis: within a question, any of its cultures could be `own`;
    among questions that were not asked about both, any could be its. The statistic is the sum, over the
    questions of `own`, of its mean minus that of the others.
    """
    _check(scores, units)
    names, unit_of = np.unique(np.asarray(units, dtype=str), return_inverse=True)
    pairs = np.char.add(np.char.add(unit_of.astype(str), "\n"), np.asarray(cultures, dtype=str))
    _, first_item, cell_of = np.unique(pairs, return_index=True, return_inverse=True)
    means = unit_sums(scores, pairs) / np.bincount(cell_of)[:, None]
    unit_of_cell, is_own = unit_of[first_item], (np.asarray(cultures, dtype=str) == own)[first_item]
    patterns = np.zeros((1 + permutations, len(means)))
    generator = np.random.default_rng(seed)
    alone: list[NDArray[np.int64]] = []
    for unit in range(len(names)):
        cells = np.flatnonzero(unit_of_cell == unit)
        if not is_own[cells].any() or is_own[cells].all():
            alone.append(cells)
            continue
        chosen = generator.integers(len(cells), size=1 + permutations)
        chosen[0] = np.flatnonzero(is_own[cells])[0]
        patterns[:, cells] = -1 / (len(cells) - 1)
        patterns[np.arange(1 + permutations), cells[chosen]] = 1
    of_own = np.array([is_own[cells[0]] for cells in alone], dtype=bool)
    if of_own.any() and not of_own.all():
        weights = np.where(of_own, 1.0, -of_own.sum() / (~of_own).sum())
        drawn = np.tile(weights, (1 + permutations, 1))
        generator.permuted(drawn[1:], axis=1, out=drawn[1:])
        for column, cells in enumerate(alone):
            patterns[:, cells] = drawn[:, [column]] / len(cells)
    if not patterns[0].any():
        raise InputError("all items are on one side; give items of the culture and of other cultures")
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
