"""The formulas of `attainable`, by writing out every pattern of a small case."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from tests.core.attainable import of_exchanges, of_sign_flips, of_votes


def test_sign_flips_by_all_patterns():
    sums = np.array([[3, 1, 1, 2, 0, 5, 1, 2, 2], [1, 1, 1, 1, 1, 1, 1, 0, 0]])
    for row in sums:
        totals = np.array([np.dot(signs, row) for signs in itertools.product((-1, 1), repeat=9)])
        as_high = np.array([(totals >= total).mean() for total in totals])
        as_low = np.array([(totals <= total).mean() for total in totals])
        two_sided = (2 * np.minimum(as_high, as_low) <= 0.05).mean()
        one_sided = (as_high <= 0.05).mean()
        assert of_sign_flips(row[None])[0] == pytest.approx(two_sided)
        assert of_sign_flips(row[None], two_sided=False)[0] == pytest.approx(one_sided)
    assert of_sign_flips(sums, 99_999)[1] == pytest.approx(2 * 1 / 2**7, abs=1e-6)


def test_exchanges_by_all_choices():
    right = np.array([[1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 1, 1]])  # questions × cultures
    counts = np.array([sum(choice) for choice in itertools.product(*right.tolist())])
    expected = np.mean([(counts >= count).mean() <= 0.05 for count in counts])
    assert of_exchanges(right.mean(axis=1)[None], 99_999)[0] == pytest.approx(expected, abs=1e-6)
    rare = np.full((1, 5), 0.2)  # three of five are right with 0.058, four with 0.0067
    assert of_exchanges(rare, 99_999)[0] == pytest.approx(5 * 0.2**4 * 0.8 + 0.2**5)


def test_votes_by_hand():
    # of 6 votes only 6 to 0 is below 5 %: 2 / 64; of 5 votes none is, but mid p of 5 to 0 is 1 / 32
    assert of_votes(6, mid=False) == pytest.approx(2 / 64)
    assert of_votes(5, mid=False) == 0.0
    assert of_votes(5, mid=True) == pytest.approx(2 / 32)
    assert of_votes(0, mid=True) == 0.0
