from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from culnig import statistics
from culnig.errors import InputError
from culnig.statistics import against_random, paired_difference, zscores_over_cultures


def units(n):
    return np.array([f"culture\nquestion {number}" for number in range(n)], dtype=object)


def compare(differences, of=None, **options):
    differences = np.array(differences, dtype=float)
    of = units(len(differences)) if of is None else np.array(of, dtype=object)
    return paired_difference(np.zeros(len(differences)), differences, of, **options)


# z over cultures


def test_z_by_hand():
    # mean 2, deviations -1 -1 -1 3, variance 12/4 = 3
    z = zscores_over_cultures(np.array([[1.0], [1.0], [1.0], [5.0]]))
    np.testing.assert_allclose(z[:, 0], np.array([-1, -1, -1, 3]) / np.sqrt(3), rtol=1e-15)


def test_z_is_scipys_with_the_population_deviation_along_cultures():
    difference = np.random.default_rng(0).normal(size=(16, 40))
    np.testing.assert_array_equal(zscores_over_cultures(difference), stats.zscore(difference, axis=0, ddof=0))


@pytest.mark.parametrize("value", [0.0, 0.1, -3.0, 1e-300])
def test_z_is_zero_where_all_cultures_are_alike(value):
    # 0.1 added sixteen times and divided by sixteen is not 0.1: the deviation is not zero to the bit
    assert zscores_over_cultures(np.full((16, 2), value)).tolist() == [[0.0, 0.0]] * 16


def test_a_constant_neuron_leaves_its_neighbours_alone():
    difference = np.array([[1.0, 4.0, 1.0], [3.0, 4.0, 0.0], [2.0, 4.0, 5.0]])
    z = zscores_over_cultures(difference)
    np.testing.assert_array_equal(z[:, [0, 2]], stats.zscore(difference[:, [0, 2]], axis=0))
    assert z[:, 1].tolist() == [0.0, 0.0, 0.0]


def test_cultures_that_differ_only_by_rounding_give_a_number():
    difference = np.ones((16, 1))
    difference[3] = np.nextafter(1, 2)
    assert np.isfinite(zscores_over_cultures(difference)).all()


def test_z_of_no_neurons_is_empty():
    assert zscores_over_cultures(np.empty((16, 0))).shape == (16, 0)


# paired difference


def test_the_effect_is_second_minus_first_over_items():
    found = paired_difference(
        np.array([True, True, False, True]), np.array([True, False, False, False]), units(4)
    )
    assert found.effect == -0.5
    assert (found.n, found.n_units) == (4, 4)


@pytest.mark.parametrize(
    ("differences", "alternative", "expected"),
    [
        # sums of all 2^3 sign patterns of 1, 2, 3: -6 -4 -2 0 0 2 4 6
        ([1, 2, 3], "greater", 1 / 8),
        ([1, 2, 3], "less", 8 / 8),
        ([1, 2, 3], "two-sided", 2 / 8),
        ([-1, 2, 3], "greater", 2 / 8),
        ([-1, 2, 3], "two-sided", 4 / 8),
        ([-1, -2, 3], "greater", 5 / 8),
        ([-1, -2, 3], "two-sided", 1.0),
        ([-1, -2, -3], "less", 1 / 8),
        ([5], "two-sided", 1.0),
    ],
)
def test_p_is_the_share_of_sign_patterns_counted_by_hand(differences, alternative, expected):
    assert compare(differences, alternative=alternative).p_value == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("lost", "won"), [(1, 0), (5, 0), (6, 1), (4, 4), (9, 2), (2, 10), (0, 13)])
@pytest.mark.parametrize("alternative", ["two-sided", "less", "greater"])
def test_right_or_wrong_is_the_exact_mcnemar_test(lost, won, alternative):
    unchanged = 20
    found = compare([-1] * lost + [1] * won + [0] * unchanged, alternative=alternative)
    expected = stats.binomtest(won, won + lost, alternative=alternative).pvalue
    assert found.p_value == pytest.approx(min(1.0, expected), rel=1e-9)


@pytest.mark.parametrize("alternative", ["less", "greater"])
@pytest.mark.parametrize(
    "differences", [[0.1, 0.2, -0.3], [-0.1, -0.2, 0.3], [0.7, -0.1, -0.6], [0.6, 0.11, -0.71]]
)
def test_ties_among_sign_patterns_are_not_decided_by_rounding(differences, alternative):
    # the sum is zero, and so is that of the opposite pattern; three of eight lie on either side
    assert compare(differences, alternative=alternative).p_value == 5 / 8


@given(st.lists(st.integers(-9, 9), min_size=1, max_size=7), st.sampled_from(["less", "greater"]))
@settings(max_examples=300)
def test_p_is_the_exact_share_of_sign_patterns(thirtieths, alternative):
    # thirtieths: what the mean of three baselines over ten items can be, and no float64 holds
    patterns = product((1, -1), repeat=len(thirtieths))
    sums = np.array([sum(sign * abs(n) for sign, n in zip(p, thirtieths, strict=True)) for p in patterns])
    observed = sum(thirtieths)
    as_extreme = sums <= observed if alternative == "less" else sums >= observed
    found = compare(np.array(thirtieths) / 30, alternative=alternative)
    assert found.p_value == pytest.approx(as_extreme.mean(), rel=1e-9)


def test_unchanged_units_do_not_make_the_test_inexact():
    assert compare([-1] * 5 + [0] * 500).p_value == 2 / 2**5


def test_many_units_agree_with_the_binomial_up_to_the_resampling():
    found = compare([-1] * 40 + [1] * 20)
    expected = stats.binomtest(20, 60).pvalue
    noise = np.sqrt(expected / statistics.RESAMPLES)
    assert found.p_value == pytest.approx(expected, abs=6 * noise)


def test_p_is_never_zero():
    assert compare(-np.ones(200)).p_value == pytest.approx(2 / (statistics.RESAMPLES + 1))


def test_items_of_one_question_count_once():
    differences = np.array([-1, -1, -1, -1, -1, 1.0])
    once = compare(differences)
    ten_times = compare(np.repeat(differences, 10), np.repeat(units(6), 10))
    assert ten_times.p_value == once.p_value
    assert ten_times.interval == once.interval
    assert (ten_times.n, ten_times.n_units) == (60, 6)


def test_repeated_rows_taken_as_independent_would_look_significant():
    repeated = np.repeat([-1, -1, -1, 1.0], 10)
    assert compare(repeated).p_value < 0.01
    assert compare(repeated, np.repeat(units(4), 10)).p_value == 10 / 16


def test_the_order_of_items_does_not_matter():
    generator = np.random.default_rng(3)
    differences, of = generator.integers(-1, 2, size=40).astype(float), np.repeat(units(10), 4)
    order = generator.permutation(40)
    assert compare(differences[order], of[order]) == compare(differences, of)


def test_units_weigh_by_their_items():
    # one question with 3 items that all fell, one with a single item that rose
    found = compare([-1, -1, -1, 1], ["a", "a", "a", "b"])
    assert found.effect == -0.5
    assert found.interval == (-1.0, 1.0)


def test_no_change_at_all_gives_p_one_and_an_interval_of_zero():
    found = compare(np.zeros(30))
    assert (found.effect, found.p_value, found.interval) == (0.0, 1.0, (0.0, 0.0))


def test_changes_that_cancel_within_a_question_are_no_change():
    assert compare([1, -1, 1, -1], ["a", "a", "b", "b"]).p_value == 1.0


def test_one_unit_has_no_interval():
    found = compare([1, 1, 0], ["a", "a", "a"])
    assert np.isnan(found.interval).all()
    assert found.p_value == 1.0


def test_no_items_are_refused():
    with pytest.raises(InputError, match="no items to compare"):
        compare([])


def test_equal_input_gives_equal_numbers():
    differences = np.random.default_rng(1).normal(size=50)
    assert compare(differences) == compare(differences)
    assert compare(differences, seed=1).interval != compare(differences, seed=2).interval


def clustered_nulls(repetitions, n_units=12, per_unit=5):
    """Differences of mean zero whose items share most of their noise within a unit."""
    generator = np.random.default_rng(7)
    for _ in range(repetitions):
        shared = np.repeat(generator.normal(size=n_units), per_unit)
        yield shared + 0.2 * generator.normal(size=n_units * per_unit), np.repeat(units(n_units), per_unit)


def test_without_an_effect_one_in_twenty_is_significant_however_much_items_share(monkeypatch):
    monkeypatch.setattr(statistics, "RESAMPLES", 999)
    found = [compare(differences, of).p_value for differences, of in clustered_nulls(300)]
    assert 0.02 < np.mean(np.array(found) < 0.05) < 0.09


def test_the_interval_covers_the_truth_however_much_items_share(monkeypatch):
    monkeypatch.setattr(statistics, "RESAMPLES", 999)
    intervals = [
        compare(differences + 0.3, of).interval for differences, of in clustered_nulls(200, n_units=40)
    ]
    covered = np.mean([low <= 0.3 <= high for low, high in intervals])
    assert 0.90 < covered < 0.99


# against random baselines


def test_the_effect_against_random_is_to_their_mean():
    random = np.array([[1, 1, 1, 0], [1, 1, 0, 0]], dtype=bool)
    found = against_random(np.array([True, False, False, False]), random, units(4))
    assert found.n_random == 2
    assert found.difference.effect == pytest.approx(0.25 - (0.75 + 0.5) / 2)


def test_one_sided_p_is_small_only_where_the_condition_is_lower():
    lower, higher = np.zeros(8), np.ones(8)
    assert against_random(lower, np.ones((3, 8)), units(8)).difference.p_value == 1 / 2**8
    assert against_random(higher, np.zeros((3, 8)), units(8)).difference.p_value == 1.0


@pytest.mark.parametrize(
    ("accuracies", "expected"),
    [
        ([3, 3, 3, 3], 1 / 5),
        ([3, 2, 3, 3], 2 / 5),  # as low counts
        ([3, 2, 1, 3], 3 / 5),
        ([0, 0, 0, 0], 5 / 5),
    ],
)
def test_empirical_p_counts_baselines_that_are_as_low(accuracies, expected):
    random = np.array([[True] * right + [False] * (4 - right) for right in accuracies])
    found = against_random(np.array([True, True, False, False]), random, units(4))
    assert found.empirical_p == expected


def test_rounding_of_the_mean_is_no_difference():
    # the mean of three 0.1 is 0.10000000000000002: every unit would be "lower"
    found = against_random(np.full(12, 0.1), np.full((3, 12), 0.1), units(12))
    assert found.difference.p_value == 1.0


def test_as_low_is_not_decided_by_rounding():
    condition = np.array([0.1, 0.2, 0.3])
    assert against_random(condition, condition[::-1][np.newaxis], units(3)).empirical_p == 1.0
