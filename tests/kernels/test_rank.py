"""rank: target - control, pools and exclusion in one pass, against the plain twin."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import twin
from hypothesis import given
from hypothesis import strategies as st
from kernel_cases import examples

from culnig import kernels
from culnig.errors import InputError


@examples(150)
@given(
    seed=st.integers(0, 2**32 - 1),
    n_neurons=st.integers(1, 800),
    n_rows=st.integers(0, 3),
    coarse=st.booleans(),
    one_exclusion=st.booleans(),
)
def test_rank_equals_twin(seed: int, n_neurons: int, n_rows: int, coarse: bool, one_exclusion: bool) -> None:
    random = np.random.default_rng(seed)
    target, control = random.normal(size=(2, n_rows, n_neurons))
    exclusion = random.normal(size=(1 if one_exclusion else n_rows, n_neurons))
    if coarse:
        target, control, exclusion = np.round(target), np.round(control), np.round(exclusion)
    scattered = np.flatnonzero(random.random(n_neurons) < 0.6)
    third = n_neurons // 3
    two_runs = np.r_[2 * third : n_neurons, 0:third]
    pools = [random.permutation(scattered), two_runs, np.empty(0, dtype=int)]
    counts = [int(random.integers(0, len(pool) + 1)) for pool in pools]
    removed = [int(random.integers(0, len(pool) + 1)) for pool in pools]
    ranked = kernels.rank(
        target,
        control,
        pools=pools,
        counts=counts,
        exclusion=exclusion,
        exclusion_counts=removed,
    )
    assert len(ranked) == n_rows
    for row, by_pool in enumerate(ranked):
        for pool, count, n_removed, kept in zip(pools, counts, removed, by_pool, strict=True):
            marks = exclusion[0 if one_exclusion else row]
            expected = twin.rank(target[row], control[row], marks, pool, count, n_removed)
            np.testing.assert_array_equal(kept.indices, expected[0])
            np.testing.assert_array_equal(kept.differences, expected[1])


def test_exclusion_leaves_a_gap_that_is_not_filled() -> None:
    target = np.array([[4.0, 3.0, 2.0, 1.0]])
    exclusion = np.array([[9.0, 0.0, 0.0, 0.0]])
    [[kept]] = kernels.rank(
        target,
        np.zeros_like(target),
        pools=[range(4)],
        counts=[2],
        exclusion=exclusion,
        exclusion_counts=[1],
    )
    np.testing.assert_array_equal(kept.indices, [1])
    np.testing.assert_array_equal(kept.differences, [3.0])


def test_without_exclusion_the_best_are_kept() -> None:
    target = np.random.default_rng(0).normal(size=(2, 50_000))
    control = np.random.default_rng(1).normal(size=(2, 50_000))
    ranked = kernels.rank(target, control, pools=[np.arange(50_000)], counts=[500])
    np.testing.assert_array_equal([row[0].indices for row in ranked], kernels.top_k(target - control, 500))


def test_no_control_counts_as_zero() -> None:
    target = np.round(np.random.default_rng(2).normal(size=(2, 60)), 1)
    [[alone], [second]] = kernels.rank(target, pools=[np.arange(60)], counts=[9])
    for kept, row in ((alone, target[0]), (second, target[1])):
        np.testing.assert_array_equal(kept.indices, twin.top_k(row, 9, np.zeros(60, dtype=bool)))
        np.testing.assert_array_equal(kept.differences, row[kept.indices])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"control": np.zeros((1, 3))}, r"control is float64 of shape \(1, 3\); float64 of shape \(1, 4\)"),
        ({"target": np.zeros((1, 4), dtype=np.float32)}, "target is float32"),
        ({"counts": [5]}, r"counts\[0\] is 5; a whole number from 0 to 4, the size of the pool"),
        ({"counts": []}, "counts has 0 entries for 1 pools"),
        ({"pools": [[2, 4]]}, r"pools\[0\] reaches from 2 to 4; from 0 to 3 is allowed"),
        ({"pools": [[-1, 2]]}, r"pools\[0\] reaches from -1 to 2"),
        ({"pools": [[[0, 2], [2, 1]]]}, r"pools\[0\] is int64 of shape \(2, 2\)"),
        ({"pools": [np.array([1, 1])]}, r"pools\[0\] names a neuron twice"),
        ({"pools": [np.array([0.5])]}, r"pools\[0\] is float64"),
        ({"exclusion": np.zeros((1, 4))}, "exclusion and exclusion_counts go together"),
        (
            {"exclusion": np.zeros((3, 4)), "exclusion_counts": [1]},
            r"exclusion is float64 of shape \(3, 4\)",
        ),
    ],
)
def test_arguments_that_do_not_fit_are_named(changes: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {
        "target": np.zeros((1, 4)),
        "control": np.zeros((1, 4)),
        "pools": [range(4)],
        "counts": [2],
    }
    with pytest.raises(InputError, match=message):
        kernels.rank(**(arguments | changes))
