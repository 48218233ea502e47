from __future__ import annotations

import numpy as np
import pytest

from culnig.core.moments import CultureMoments
from culnig.errors import MismatchError
from tests.toy import moments


def test_the_culture_score_divides_by_the_items_of_the_whole_benchmark():
    table = moments(["China", "Iran"], [3, 1], [[8.0, -4.0], [2.0, 1.0]])
    assert table.culture_scores.tolist() == [[2.0, -1.0], [0.5, 0.25]]


def test_rows_come_in_the_order_asked_for_and_keep_the_divisor():
    table = moments(["China", "Iran", "Spain"], [2, 1, 1], [[8.0], [4.0], [12.0]])
    assert table.rows(["Spain", "China"]).tolist() == [[3.0], [2.0]]
    assert table.rows([]).shape == (0, 1)


def test_a_culture_without_items_is_reported_with_the_others():
    table = moments(["China", "Iran"], [1, 1], [[1.0], [2.0]])
    with pytest.raises(
        MismatchError, match="no items of Spain, Peru; this benchmark has items of China, Iran"
    ):
        table.rows(["China", "Spain", "Peru"])


def test_zeros_has_the_types_that_the_kernel_adds_into():
    table = CultureMoments.zeros(["China", "Iran"], 5)
    assert (table.sum.shape, table.sum.dtype) == ((2, 5), np.float64)
    assert (table.sum_of_squares.shape, table.sum_of_squares.dtype) == ((2, 5), np.float64)
    assert (table.positive_count.shape, table.positive_count.dtype) == ((2, 5), np.uint32)
    assert table.n_items.tolist() == table.p_gold_sum.tolist() == [0, 0]


def test_no_items_give_zero_scores_and_not_nan():
    assert CultureMoments.zeros(["China"], 3).culture_scores.tolist() == [[0.0, 0.0, 0.0]]
