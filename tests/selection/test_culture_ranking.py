"""Rankings of a culture's neurons, computed by hand for three cultures."""

from __future__ import annotations

import numpy as np
import pytest

from culnig.errors import SelectionError
from culnig.selection.culture_ranking import culture_scores

DIFFERENCE = np.array([[6.0, 0.06, 4.0, 9.0, -3.0],
                       [0.0, 0.00, 4.0, 7.0, 0.0],
                       [0.0, 0.00, 4.0, 8.0, 1.0]])  # fmt: skip
MEAN = np.array([2, 0.02, 4, 8, -2 / 3])
SD = np.array([8**0.5, 0.01 * 8**0.5, 0, (2 / 3) ** 0.5, (26 / 9) ** 0.5])
ALL = np.arange(5)


def ranked(rank_by, row=0, pool=ALL, shrink=None):
    return culture_scores(DIFFERENCE, row, rank_by, pool, shrink)


def test_a_difference_and_a_margin_have_no_s0():
    assert ranked("difference").scores.tolist() == DIFFERENCE[0].tolist()
    np.testing.assert_allclose(ranked("margin").scores, DIFFERENCE[0] - MEAN)
    assert ranked("difference").s0 is ranked("margin").s0 is None


def test_shrunken_z_adds_the_median_spread_to_each_neurons_own():
    found = ranked("shrunken-z")
    assert found.s0 == pytest.approx((2 / 3) ** 0.5)  # sd in order: 0, 0.028, 0.816, 1.700, 2.828
    np.testing.assert_allclose(found.scores, (DIFFERENCE[0] - MEAN) / (SD + (2 / 3) ** 0.5))
    # z itself is √2 for the first two; with s₀ the one that hardly scores at all is far behind
    assert found.scores[0] > 10 * found.scores[1]
    assert found.scores[2] == 0


def test_another_quantile_and_another_culture():
    found = ranked("shrunken-z", row=2, shrink=1.0)
    assert found.s0 == pytest.approx(8**0.5)
    np.testing.assert_allclose(found.scores, (DIFFERENCE[2] - MEAN) / (SD + 8**0.5))


def test_s0_is_of_the_pool_alone():
    found = ranked("shrunken-z", pool=np.array([0, 3]))
    assert found.s0 == pytest.approx((8**0.5 + (2 / 3) ** 0.5) / 2)
    assert found.scores.shape == (5,)


def test_a_share_is_the_cultures_part_of_all_absolute_scores():
    found = ranked("share")
    assert found.s0 == 6  # the sums are 6, 0.06, 12, 24 and 4
    np.testing.assert_allclose(found.scores, [6 / 12, 0.06 / 6.06, 4 / 18, 9 / 30, -3 / 10])


def test_without_s0_neurons_that_do_not_vary_are_an_error():
    with pytest.raises(SelectionError, match=r"deviation over the cultures is 0 for 1 of 5 .* quantile 0,"):
        ranked("shrunken-z", shrink=0.0)
    assert ranked("shrunken-z", pool=np.array([0, 1]), shrink=0.0).s0 == pytest.approx(0.01 * 8**0.5)
    with pytest.raises(SelectionError, match=r"the sum of the absolute scores .* is 0 for 2 of 2 neurons"):
        culture_scores(np.zeros((3, 2)), 0, "share")


def test_an_empty_pool_ranks_nothing():
    assert ranked("shrunken-z", pool=np.empty(0, dtype=np.int64)).s0 == 0.0
