"""Permutation on arrays, against scipy's and against all permutations written out."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from culnig.errors import InputError
from culnig.selection.permutation import exchange_p_values, paired_p_values

RANDOM = np.random.default_rng(0)


def test_flipping_units_agrees_with_scipy():
    target, control = RANDOM.normal(0.3, 1, (12, 4)), RANDOM.normal(0, 1, (12, 4))
    found = paired_p_values(target, control, [f"u{n}" for n in range(12)], permutations=20_000)
    for neuron in range(4):
        expected = stats.permutation_test(
            (target[:, neuron] - control[:, neuron],),
            lambda x, axis: x.sum(axis=axis),
            permutation_type="samples",
            alternative="greater",
            n_resamples=np.inf,
            vectorized=True,
        ).pvalue
        assert found[neuron] == pytest.approx(expected, abs=0.012)


def test_exchanging_units_agrees_with_every_exchange_written_out():
    scores = RANDOM.normal(size=(8, 3))
    scores[:3] += 1
    own = np.arange(8) < 3
    found = exchange_p_values(scores, own, [f"u{n}" for n in range(8)], permutations=20_000)
    observed = scores[own].mean(axis=0) - scores[~own].mean(axis=0)
    exchanges = []
    for chosen in itertools.combinations(range(8), 3):
        marked = np.isin(np.arange(8), chosen)
        exchanges.append(scores[marked].mean(axis=0) - scores[~marked].mean(axis=0))
    expected = (np.array(exchanges) >= observed - 1e-12).mean(axis=0)
    np.testing.assert_allclose(found, expected, atol=0.012)


def test_items_of_one_question_count_once():
    """Ten copies of one question are no more evidence than the question itself."""
    target, control = np.array([[1.0], [0.8], [1.3]]), np.zeros((3, 1))
    once = paired_p_values(target, control, ["a", "b", "c"], permutations=4000)
    copied = np.repeat(target, 10, axis=0)
    units = np.repeat(["a", "b", "c"], 10)
    again = paired_p_values(copied, np.zeros_like(copied), units, permutations=4000)
    assert again == pytest.approx(once)
    assert once[0] == pytest.approx(1 / 8, abs=0.02)  # of the 8 sign patterns only the observed is as high
    naive = paired_p_values(copied, np.zeros_like(copied), [str(n) for n in range(30)], permutations=4000)
    assert naive[0] < 0.001


def test_the_same_seed_gives_the_same_p_and_never_zero():
    target, control = RANDOM.normal(9, 1, (10, 2)), np.zeros((10, 2))
    units = [str(n) for n in range(10)]
    first = paired_p_values(target, control, units, permutations=99, seed=3)
    assert first.tolist() == paired_p_values(target, control, units, permutations=99, seed=3).tolist()
    assert first.min() >= 1 / 100


def test_many_neurons_in_blocks_are_as_alone(monkeypatch):
    scores, own = RANDOM.normal(size=(9, 50)), np.arange(9) < 4
    units = [str(n) for n in range(9)]
    whole = exchange_p_values(scores, own, units, permutations=200)
    monkeypatch.setattr("culnig.selection.permutation._BLOCK", 1)
    assert exchange_p_values(scores, own, units, permutations=200).tolist() == whole.tolist()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: paired_p_values(np.ones((3, 2)), np.ones((2, 2)), ["a", "b", "c"]),
            "needs the same items in both",
        ),
        (lambda: paired_p_values(np.ones((3, 2)), np.ones((3, 2)), ["a"]), r"\(3, 2\) with 1 units"),
        (lambda: paired_p_values(np.ones((0, 2)), np.ones((0, 2)), []), "at least one item"),
        (
            lambda: exchange_p_values(np.ones((2, 2)), np.array([True, False]), ["a", "a"]),
            "unit 'a' has items of the culture and of others",
        ),
        (
            lambda: exchange_p_values(np.ones((2, 2)), np.array([True, True]), ["a", "b"]),
            "all items are on one side",
        ),
    ],
)
def test_impossible_tests_are_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()
