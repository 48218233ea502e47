"""How far two runs of a model may differ by the rounding of float32 alone.

Another batch size, other padding, another processor or number of threads changes the order in which the
matrix products add, and with it the last bits. What follows bounds that, from the arithmetic:

One product. A sum of K terms rounds about K times, each time by at most u = eps / 2 of a partial sum. The
roundings have either sign, so the error of the sum is about u·√K of its size (root mean square).

A model. Each of L layers adds its own error to the hidden state, again with either sign: u·√(K·L). K is the
longest sum in a layer, as wide as the hidden state or the MLP, whichever is wider.

A comparison. Two results err (√2), and the largest of thousands of differences is asked for: four standard
deviations. A layer also enlarges the errors of the layers below it where it is steep, as layers with large
random weights are: GAIN, twice. `noise` is the product of all that.

A logit and an activation err by `noise` of the largest of their kind. P is exp(l - log Σ exp): its relative
error is that of a difference of two logits, 2 · LOGITS · `noise`. A weighted score P · a · ∂P/∂a holds P
twice, for ∂P holds P (1 - P); beside that the activation and the gradient err by `noise` each. The score of a
neuron may be small because large terms cancel, so its error is relative to the largest score of the same row,
which is an item or a culture.

`test_tolerances` holds both ends: float32 is well within these bounds of float64 for every family of tests,
and an item lost, a padded token counted or a weight changed by one in a hundred is well outside.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

EPS = float(np.finfo(np.float32).eps)
DEVIATIONS = 4.0
GAIN = 2.0
LOGITS = 2.0
"""Size of the logits of the tiny models: root mean square, 0.3 · √24 from their weights and up to 2."""


def noise(longest_sum: int, layers: int) -> float:
    """Relative error of what a float32 model computes, between two orders of adding."""
    return DEVIATIONS * math.sqrt(2) * GAIN * EPS / 2 * math.sqrt(longest_sum * layers)


TINY = noise(longest_sum=40, layers=3)
"""The models of `tests.tiny_models`: 7.4e-6."""


EMBEDDED = noise(longest_sum=1536, layers=30)
"""SmolLM2-135M: 1.4e-4."""


def assert_values_equal(found: Any, expected: Any, within: float = TINY) -> None:
    """Logits, activations or gradients of one kind: float noise of the largest of them."""
    found, expected = _array(found), _array(expected)
    np.testing.assert_allclose(found, expected, rtol=0, atol=within * np.abs(expected).max())


def values_equal(found: Any, expected: Any, within: float = TINY) -> bool:
    """Whether `assert_values_equal` passes: to show that something does make a difference."""
    try:
        assert_values_equal(found, expected, within)
    except AssertionError:
        return False
    return True


def assert_probabilities_equal(found: Any, expected: Any, within: float = TINY) -> None:
    """P of single items, sums or means of P, in any shape."""
    np.testing.assert_allclose(_array(found), _array(expected), rtol=2 * LOGITS * within, atol=0)


def of_a_score(within: float = TINY) -> float:
    """What the noise of activation, gradient and two P comes to in a score."""
    return (2 * 2 * LOGITS + 2) * within


def assert_scores_equal(found: Any, expected: Any, within: float = TINY, power: int = 1) -> None:
    """Scores, or sums of scores raised to `power`, (row, neuron) or one row: noise of each row's largest."""
    found, expected = np.atleast_2d(_array(found)), np.atleast_2d(_array(expected))
    assert found.shape == expected.shape
    largest = np.abs(expected).max(axis=1, keepdims=True)
    largest[largest == 0] = 1.0
    allowed = power * of_a_score(within)
    np.testing.assert_allclose(found / largest, expected / largest, rtol=0, atol=allowed)


def assert_positive_counts_equal(found: Any, expected: Any) -> None:
    """Numbers of positive scores: one in a hundred may lie so near to zero that noise decides its sign."""
    differences = np.abs(_array(found).astype(np.int64) - _array(expected).astype(np.int64))
    assert differences.max() <= 1
    assert differences.sum() <= 0.01 * differences.size


def _array(values: Any) -> Any:
    return np.asarray(values.detach() if hasattr(values, "detach") else values)
