"""Permutation on arrays, against scipy's and against all permutations written out."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from culnig.errors import InputError
from culnig.selection.permutation import exchange_p_values, paired_p_values
from tests.core.attainable import of_exchanges, of_sign_flips, within

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
    cultures = np.where(own, "own", "other")
    found = exchange_p_values(scores, cultures, "own", [f"u{n}" for n in range(8)], permutations=20_000)
    observed = scores[own].mean(axis=0) - scores[~own].mean(axis=0)
    exchanges = []
    for chosen in itertools.combinations(range(8), 3):
        marked = np.isin(np.arange(8), chosen)
        exchanges.append(scores[marked].mean(axis=0) - scores[~marked].mean(axis=0))
    expected = (np.array(exchanges) >= observed - 1e-12).mean(axis=0)
    np.testing.assert_allclose(found, expected, atol=0.012)


def test_cultures_are_exchanged_within_questions():
    """3 questions of 3 cultures, two items each: all 27 choices of a culture for each question."""
    scores = RANDOM.normal(size=(18, 4))
    scores[::3] += 0.7
    cultures, units = np.tile(["x", "y", "z"], 6), np.repeat(["a", "b", "c"], 6)
    found = exchange_p_values(scores, cultures, "x", units, permutations=20_000)
    cells = np.array([[scores[(units == u) & (cultures == c)].mean(axis=0) for c in "xyz"] for u in "abc"])
    sums = []
    for chosen in itertools.product(range(3), repeat=3):
        others = [[c for c in range(3) if c != own] for own in chosen]
        sums.append(sum(cells[q, chosen[q]] - cells[q, others[q]].mean(axis=0) for q in range(3)))
    expected = (np.array(sums) >= sums[0] - 1e-12).mean(axis=0)
    np.testing.assert_allclose(found, expected, atol=0.012)


def test_questions_of_one_culture_beside_shared_ones():
    """Question a of both, b and c of x alone, d of y alone: 2 exchanges within a, 3 among b, c and d."""
    scores = RANDOM.normal(size=(5, 3))
    cultures, units = ["x", "y", "x", "x", "y"], ["a", "a", "b", "c", "d"]
    found = exchange_p_values(scores, cultures, "x", units, permutations=20_000)
    sums = []
    for sign in (1, -1):
        for y in (4, 3, 2):
            of_x = [n for n in (2, 3, 4) if n != y]
            sums.append(sign * (scores[0] - scores[1]) + 2 * (scores[of_x].mean(axis=0) - scores[y]))
    expected = (np.array(sums) >= sums[0] - 1e-12).mean(axis=0)
    np.testing.assert_allclose(found, expected, atol=0.012)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["normal", "right or wrong"])
@pytest.mark.parametrize("rho", [0.0, 0.2, 0.5])
@pytest.mark.parametrize("questions", [12, 60])
def test_neurons_without_an_effect_are_significant_one_in_twenty(questions, rho, kind):
    """Each column is one study: 16 cultures asked the same questions, which they share to the degree ρ."""
    generator = np.random.default_rng([questions, int(10 * rho), len(kind)])
    shared = generator.normal(size=(2, questions, 1, 3_000))
    target, control = np.sqrt(rho) * shared + np.sqrt(1 - rho) * generator.normal(
        size=(2, questions, 16, 3_000)
    )
    if kind == "right or wrong":
        target, control = target > 0, control > 0
    target, control = (values.reshape(questions * 16, -1) * 1.0 for values in (target, control))
    units, cultures = np.repeat(np.arange(questions), 16), np.tile(np.arange(16), questions)
    flipped = (paired_p_values(target, control, units, permutations=399) <= 0.05).mean()
    exchanged = (exchange_p_values(target, cultures, "3", units, permutations=399) <= 0.05).mean()
    assert max(flipped, exchanged) <= 0.07
    if kind == "normal":
        assert min(flipped, exchanged) >= 0.035
    else:  # sums of right answers have few values, so less than 5 % can be attained
        by_question = [values.reshape(questions, 16, -1).sum(axis=1).T for values in (target, control)]
        flips = of_sign_flips((by_question[0] - by_question[1])[::6], 399, two_sided=False).mean()
        exchanges = of_exchanges(by_question[0] / 16, 399).mean()
        assert within(flipped, flips, 3_000)
        assert within(exchanged, exchanges, 3_000)
        assert exchanges < (0.03 if questions == 12 else 0.05)
    if rho == 0.5:
        separately = paired_p_values(target, control, np.arange(len(target)), permutations=399)
        assert (separately <= 0.05).mean() > 0.15


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
    scores, cultures = RANDOM.normal(size=(9, 50)), np.where(np.arange(9) < 4, "own", "other")
    units = [str(n) for n in range(9)]
    whole = exchange_p_values(scores, cultures, "own", units, permutations=200)
    monkeypatch.setattr("culnig.selection.permutation._BLOCK", 1)
    assert exchange_p_values(scores, cultures, "own", units, permutations=200).tolist() == whole.tolist()


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
            lambda: exchange_p_values(np.ones((2, 2)), ["x", "x"], "x", ["a", "b"]),
            "all items are on one side",
        ),
    ],
)
def test_impossible_tests_are_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_a_culture_with_more_rows_in_a_question_weighs_no_more():
    """Questions a and b of x and y; x has three rows in a. A question's mean counts, not its sum."""
    scores = np.array([[1.0], [1.0], [1.0], [1.5], [0.2], [1.0]])
    cultures, units = list("xxxyxy"), list("aaaabb")
    # x − y: a 1.0 − 1.5 = −0.5, b 0.2 − 1.0 = −0.8: the lowest of the four exchanges, so all are as high.
    # Sums instead of means would be a 3.0 − 1.5 = +1.5, b −0.8: only one of four would be higher.
    assert exchange_p_values(scores, cultures, "x", units, permutations=999)[0] == 1.0
    high = exchange_p_values(-scores, cultures, "x", units, permutations=19_999)[0]
    assert high == pytest.approx(1 / 4, abs=0.012)
