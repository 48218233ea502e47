from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from culnig.errors import SelectionError
from culnig.selection.ranking import check_fraction, cut_pool


def twin(pool, score, fraction, exclusion, exclusion_fraction):
    """The same in plain words: sort, cut, throw out."""

    def best(values, share):
        ranked = sorted(pool.tolist(), key=lambda place: (-values[place], place))
        return ranked[: int(share * len(pool))]

    thrown_out = set() if exclusion is None else set(best(exclusion, exclusion_fraction))
    kept = best(score, fraction)
    return [place for place in kept if place not in thrown_out], len(kept)


@st.composite
def cuts(draw):
    n = draw(st.integers(1, 60))
    # few different values: many ties
    values = st.lists(st.sampled_from([-1.0, -0.0, 0.0, 0.5, 2.0]) | st.floats(-1, 1), min_size=n, max_size=n)
    pool = draw(st.lists(st.integers(0, n - 1), unique=True).map(sorted))
    return (
        np.array(pool, dtype=np.int64),
        np.array(draw(values)),
        draw(st.floats(0, 1)),
        draw(st.none() | values.map(np.array)),
        draw(st.floats(0, 1)),
    )


@given(cuts())
def test_a_cut_is_sort_cut_throw_out(arguments):
    cut = cut_pool(*arguments)
    kept, before = twin(*arguments)
    assert cut.kept.tolist() == kept
    assert cut.n_before_exclusion == before
    assert cut.n_pool == len(arguments[0])


@pytest.mark.parametrize(
    ("size", "fraction", "count"),
    [
        (100, 0.0, 0),
        (100, 1.0, 100),
        (100, 0.0199, 1),
        (99, 0.01, 0),
        (250, 0.006, 1),
        (100, 0.29, 28),  # 0.29 * 100 is 28.999…: int() as in the method, no rounding
        (737_280, 0.01, 7_372),  # gemma-3-12b
        (393_216, 0.002, 786),
    ],
)
def test_the_count_is_int_of_fraction_times_pool(size, fraction, count):
    cut = cut_pool(np.arange(size), np.zeros(size), fraction, None, 0.01)
    assert cut.n_before_exclusion == len(cut.kept) == count


def test_ties_go_to_the_lower_flat_index():
    pool = np.array([2, 3, 5, 7, 8])
    cut = cut_pool(pool, np.array([9, 9, 1, 4, 9, 4, 9, 4, 0.0]), 0.4, None, 0)
    assert cut.kept.tolist() == [3, 5]


def test_excluded_neurons_are_not_replaced():
    pool = np.arange(10)
    score, exclusion = np.arange(10.0), np.zeros(10)
    exclusion[[9, 0]] = [2, 1]
    cut = cut_pool(pool, score, 0.3, exclusion, 0.2)
    assert cut.kept.tolist() == [8, 7]
    assert cut.n_before_exclusion == 3


def test_exclusion_ranks_within_the_pool():
    # the strongest exclusion scores lie outside the pool and do not use up its share
    exclusion = np.array([50.0, 60, 0, 1, 2, 3])
    cut = cut_pool(np.array([2, 3, 4, 5]), np.array([9.0, 9, 1, 2, 3, 4]), 1.0, exclusion, 0.25)
    assert cut.kept.tolist() == [4, 3, 2]


def test_a_score_outside_the_pool_is_never_kept():
    assert cut_pool(np.array([0, 2]), np.array([1.0, 100, 2]), 1.0, None, 0).kept.tolist() == [2, 0]


def test_an_empty_pool_gives_an_empty_cut():
    cut = cut_pool(np.empty(0, dtype=np.int64), np.zeros(5), 1.0, np.zeros(5), 1.0)
    assert (cut.kept.tolist(), cut.n_pool, cut.n_before_exclusion) == ([], 0, 0)


@pytest.mark.parametrize("fraction", [-0.01, 1.01, float("nan"), float("inf")])
def test_a_fraction_outside_zero_to_one_is_refused(fraction):
    with pytest.raises(SelectionError, match=f"top is {fraction}; .* from 0 to 1"):
        check_fraction("top", fraction)


@pytest.mark.parametrize("fraction", [0, 0.5, 1])
def test_the_ends_are_fractions(fraction):
    check_fraction("top", fraction)
    assert cut_pool(np.arange(2), np.zeros(2), fraction, None, 0).n_before_exclusion == int(2 * fraction)
