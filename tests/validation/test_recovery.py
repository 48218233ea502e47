"""Average precision and its companions, against numbers computed by hand and against a slow twin."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from culnig.errors import InputError
from culnig.validation.recovery import expected_average_precision, mean_recovery, recovery


def flat(*places: int) -> np.ndarray:
    return np.array(places, dtype=np.int64)


def test_a_ranking_by_hand():
    found = recovery(flat(5, 0, 7, 2), selected=flat(5, 0, 3), planted=flat(5, 7), n_pool=8)
    assert found.average_precision == pytest.approx((1 / 1 + 2 / 3) / 2)
    assert found.precision_at_k == 1 / 2
    assert (found.selected, found.selected_precision, found.selected_recall) == (3, 1 / 3, 1 / 2)
    assert found.chance == 2 / 8


def test_neurons_that_are_not_ranked_are_never_found():
    found = recovery(flat(1), selected=flat(), planted=flat(1, 2), n_pool=10)
    assert found.average_precision == 1 / 2
    assert (found.selected_precision, found.selected_recall) == (0, 0)


def test_nothing_planted():
    with pytest.raises(InputError, match="no neuron is planted"):
        recovery(flat(1), flat(), flat(), 10)


@given(st.permutations(range(12)), st.integers(0, 12), st.sets(st.integers(0, 11), min_size=1))
def test_average_precision_by_its_definition(order, n_ranked, planted):
    ranking = order[:n_ranked]
    expected = 0.0
    for neuron in planted:
        if neuron in ranking:
            upto = ranking[: ranking.index(neuron) + 1]
            expected += len(planted & set(upto)) / len(upto)
    found = recovery(flat(*ranking), flat(), flat(*planted), 12)
    assert found.average_precision == pytest.approx(expected / len(planted))
    assert found.precision_at_k == len(planted & set(ranking[: len(planted)])) / len(planted)


@pytest.mark.parametrize(
    ("n_ranked", "n_hits", "n_planted"), [(6, 3, 3), (6, 2, 3), (5, 5, 5), (4, 1, 1), (3, 0, 1)]
)
def test_the_expected_value_is_the_mean_over_all_orders(n_ranked, n_hits, n_planted):
    planted = flat(*range(n_hits), *range(90, 90 + n_planted - n_hits))
    orders = itertools.permutations(range(n_ranked))
    several = [recovery(flat(*order), flat(), planted, 100).average_precision for order in orders]
    expected = expected_average_precision(n_ranked, n_hits, n_planted)
    assert expected == pytest.approx(np.mean(several))


def test_a_random_order_comes_to_chance():
    generator = np.random.default_rng(0)
    several = [recovery(generator.permutation(1000), flat(), np.arange(100), 1000) for _ in range(100)]
    found = mean_recovery(several)
    assert found.average_precision == pytest.approx(found.chance_average_precision, abs=0.005)
    assert found.precision_at_k == pytest.approx(found.chance, abs=0.01)
