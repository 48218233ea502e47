"""top_k against the plain twin."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import twin
from hypothesis import given
from hypothesis import strategies as st
from kernel_cases import examples
from numpy.typing import NDArray

from culnig import kernels
from culnig.errors import InputError

Array = NDArray[Any]

SPECIAL = (0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 1e-300, 5e-324)


def random_rows(seed: int, n_rows: int, n_neurons: int, kind: str, dtype: str) -> Array:
    random = np.random.default_rng(seed)
    shape = (n_rows, n_neurons)
    rows = {
        "noise": lambda: random.normal(size=shape),
        "ties": lambda: random.integers(-3, 4, shape).astype(float),
        "special": lambda: random.choice(SPECIAL, shape),
        "all equal": lambda: np.full(shape, 2.5),
        "all NaN": lambda: np.full(shape, np.nan),
        "sorted": lambda: np.sort(random.normal(size=shape), axis=1),
    }[kind]()
    return rows.astype(dtype)


KINDS = ("noise", "ties", "special", "all equal", "all NaN", "sorted")


def assert_top_k_equals_twin(scores: Array, k: int, excluded: Array | None) -> None:
    best = kernels.top_k(scores, k, excluded)
    assert best.dtype == np.int64
    assert best.shape == (len(scores), k)
    barred = np.broadcast_to(False if excluded is None else excluded, scores.shape)
    for row in range(len(scores)):
        np.testing.assert_array_equal(best[row], twin.top_k(scores[row], k, barred[row]))


@st.composite
def requests(draw: st.DrawFn) -> tuple[Array, int, Array | None]:
    n_rows = draw(st.integers(0, 4))
    n_neurons = draw(st.one_of(st.integers(0, 20), st.integers(0, 2000)))
    seed = draw(st.integers(0, 2**32 - 1))
    dtype = draw(st.sampled_from(("float32", "float64")))
    scores = random_rows(seed, n_rows, n_neurons, draw(st.sampled_from(KINDS)), dtype)
    k = draw(st.one_of(st.sampled_from((0, n_neurons)), st.integers(0, n_neurons)))
    random = np.random.default_rng(seed)
    share = draw(st.sampled_from((0.1, 0.9, 1.0)))
    excluded = draw(
        st.sampled_from((None, random.random(n_neurons) < share, random.random((n_rows, n_neurons)) < share))
    )
    return scores, k, excluded


@examples(300)
@given(requests())
def test_core_equals_twin(request: tuple[Array, int, Array | None]) -> None:
    assert_top_k_equals_twin(*request)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("k", [0, 1, 300, 15_000, 30_000])
def test_large_rows_where_a_sample_guesses_the_cut(kind: str, k: int) -> None:
    scores = random_rows(5, 2, 30_000, kind, "float64")
    excluded = np.random.default_rng(6).random(30_000) < 0.2
    assert_top_k_equals_twin(scores, k, None)
    assert_top_k_equals_twin(scores, k, excluded)


def test_a_guess_that_misses_does_not_change_the_result() -> None:
    scores = np.zeros((1, 40_000))
    step = 40_000 // 4096
    scores[0, step // 2 :: step] = 1.0  # exactly the neurons that are sampled
    assert_top_k_equals_twin(scores, 10_000, None)
    assert_top_k_equals_twin(1 - scores, 4_000, None)


def test_strided_rows_are_read_in_place() -> None:
    table = np.random.default_rng(0).normal(size=(6, 5000))
    np.testing.assert_array_equal(
        kernels.top_k(table[::2, 100:4000], 9), kernels.top_k(table[::2, 100:4000].copy(), 9)
    )
    np.testing.assert_array_equal(kernels.top_k(table[:, ::3], 9), kernels.top_k(table[:, ::3].copy(), 9))


def test_one_row_gives_one_row() -> None:
    np.testing.assert_array_equal(kernels.top_k(np.array([1.0, 3.0, 2.0]), 2), [1, 2])


def test_ties_go_to_the_lower_index_and_nan_comes_last() -> None:
    scores = np.array([np.nan, 0.0, -0.0, -np.inf, 0.0])
    np.testing.assert_array_equal(kernels.top_k(scores, 5), [1, 2, 4, 3, 0])


@pytest.mark.parametrize("k", [-1, 4])
def test_k_outside_the_row_is_refused(k: int) -> None:
    with pytest.raises(InputError, match=f"k is {k}; a whole number from 0 to 3, the number of neurons,"):
        kernels.top_k(np.zeros(3), k)


@pytest.mark.parametrize("scores", [np.zeros(3, dtype=int), np.zeros((1, 1, 1)), np.zeros(())])
def test_scores_of_another_dtype_or_shape_are_refused(scores: Array) -> None:
    with pytest.raises(InputError, match="scores is"):
        kernels.top_k(scores, 0)


def test_excluded_of_another_shape_is_refused() -> None:
    with pytest.raises(InputError, match=r"excluded is bool of shape \(2,\)"):
        kernels.top_k(np.zeros((4, 3)), 1, np.zeros(2, dtype=bool))
