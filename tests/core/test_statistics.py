from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.regression.linear_model import OLS
from statsmodels.stats import contingency_tables
from statsmodels.stats.multitest import multipletests

from culnig.core import statistics
from culnig.core.statistics import (
    _mcnemar_p,
    bootstrap_lower_p,
    holm,
    mcnemar,
    paired_difference,
    paired_differences,
    zscores_over_cultures,
)
from culnig.errors import InputError


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


def test_signs_that_are_kept_are_those_that_are_drawn(monkeypatch):
    """By number of units, seed and number of resamples, whatever was compared before."""
    generator = np.random.default_rng(0)
    asked = [
        (n, seed, resamples) for n in (20, 21) for resamples in (199, 499) for seed in (0, 1) for _ in "ab"
    ]
    differences = {n: generator.normal(0.3, size=n) for n in (20, 21)}

    def p_values():
        found = []
        for n, seed, resamples in asked:
            monkeypatch.setattr(statistics, "RESAMPLES", resamples)
            found.append(compare(differences[n], seed=seed).p_value)
        return found

    kept = p_values()
    monkeypatch.setattr(statistics, "_KEPT_SIGNS", 0)
    assert p_values() == kept
    assert len(set(kept)) > 4


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
    np.testing.assert_allclose(ten_times.interval, once.interval, rtol=1e-12)
    assert ten_times.bootstrap_interval == once.bootstrap_interval
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
    assert found.bootstrap_interval == (-1.0, 1.0)
    # sums -3 and 1, residuals -3 + 0.5 · 3 and 1 + 0.5: √(2 · 2 · 1.5²) / 4 = 0.75; t(1) = tan(0.475 π)
    half = 0.75 * np.tan(0.475 * np.pi)
    assert found.interval == pytest.approx((-0.5 - half, -0.5 + half))


@pytest.mark.parametrize("change", [0.0, -1.0])
def test_where_nothing_varies_there_is_no_interval(change):
    found = compare(np.full(30, change))
    assert found.effect == change
    assert np.isnan([*found.interval, *found.bootstrap_interval]).all()


def test_no_change_at_all_gives_p_one():
    assert compare(np.zeros(30)).p_value == 1.0


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
    first, second = compare(differences, seed=1), compare(differences, seed=2)
    assert first.bootstrap_interval != second.bootstrap_interval
    assert first.interval == second.interval


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


# error, effect size, smallest effect


def test_the_standard_error_equals_the_clustered_one_of_statsmodels():
    generator = np.random.default_rng(2)
    groups = generator.integers(20, size=130)
    differences = generator.normal(size=130) + generator.normal(size=20)[groups]
    found = compare(differences, groups)
    fitted = OLS(differences, np.ones(130)).fit(cov_type="cluster", cov_kwds={"groups": groups})
    assert found.standard_error == pytest.approx(float(fitted.bse[0]), rel=1e-10)
    assert found.effect == pytest.approx(float(fitted.params[0]), rel=1e-10)


def test_the_interval_is_that_of_statsmodels_with_t_of_the_groups():
    generator = np.random.default_rng(6)
    groups = np.repeat(np.arange(9), 7)
    differences = generator.normal(size=63) + generator.normal(size=9)[groups]
    fitted = OLS(differences, np.ones(63)).fit(cov_type="cluster", cov_kwds={"groups": groups}, use_t=True)
    # statsmodels uses t with the groups - 1
    np.testing.assert_allclose(compare(differences, groups).interval, fitted.conf_int()[0], rtol=1e-10)


def test_the_interval_of_single_items_is_that_of_the_t_test():
    values = np.random.default_rng(7).normal(size=12)
    expected = stats.ttest_1samp(values, 0).confidence_interval()
    np.testing.assert_allclose(compare(values).interval, (expected.low, expected.high), rtol=1e-12)


@pytest.mark.parametrize(
    ("n", "factor"), [(2, None), (5, None), (6, 4.392), (7, 3.353), (9, 3.195), (12, 3.077), (20, 2.954)]
)
def test_the_detectable_effect_is_t_times_the_error_and_none_for_five_questions(n, factor):
    # t₀.₉₇₅ + t₀.₈ from printed tables: 2.447 + 0.906, 2.306 + 0.889, 2.201 + 0.876, 2.093 + 0.861
    # six: all of the same sign in 80 % of samples, Φ(z) = 0.8^(1/6) = 0.9635, z = 1.793, times √6
    found = compare(np.random.default_rng(n).normal(size=n))
    if factor is None:
        assert np.isnan(found.detectable)
    else:
        assert found.detectable == pytest.approx(factor * found.standard_error, rel=1e-3)


def test_effect_size_by_hand_where_units_are_items():
    # mean 2, deviations -1 0 1, variance with n − 1 is 1
    found = compare([1, 2, 3])
    assert found.effect_size == pytest.approx(2.0)
    assert found.standard_error == pytest.approx(1 / np.sqrt(3))


def test_the_smallest_detectable_effect_is_detected_in_four_of_five_samples():
    generator = np.random.default_rng(4)
    detectable = np.mean([compare(generator.normal(size=50)).detectable for _ in range(20)])
    samples = generator.normal(size=(4_000, 50)) + detectable
    assert np.mean(stats.ttest_1samp(samples, 0, axis=1).pvalue < 0.05) == pytest.approx(0.8, abs=0.04)


@pytest.mark.parametrize("differences", [[0.0] * 9, [1.0] * 9, [0.5]])
def test_where_nothing_varies_there_is_no_effect_size(differences):
    found = compare(differences)
    assert np.isnan(found.effect_size)
    assert np.isnan(found.detectable)


def test_several_metrics_at_once_are_each_alone():
    generator = np.random.default_rng(8)
    differences, of = generator.normal(size=(3, 40)), np.repeat(units(10), 4)
    together = paired_differences(differences, of)
    for row, found in zip(differences, together, strict=True):
        alone = compare(row, of)
        assert (found.p_value, found.n_units) == (alone.p_value, alone.n_units)
        np.testing.assert_allclose(found.interval, alone.interval, rtol=1e-12)
        np.testing.assert_allclose(found.bootstrap_interval, alone.bootstrap_interval, rtol=1e-12)


def test_the_interval_is_scipys_percentile_bootstrap_up_to_the_draws():
    generator = np.random.default_rng(9)
    values = generator.exponential(size=80)
    found = compare(values).bootstrap_interval
    expected = stats.bootstrap((values,), np.mean, method="percentile", rng=1).confidence_interval
    np.testing.assert_allclose(found, (expected.low, expected.high), atol=0.02)


# McNemar


@pytest.mark.parametrize(("lost", "won"), [(1, 0), (5, 0), (6, 1), (4, 4), (9, 2), (2, 10), (30, 14), (0, 0)])
def test_mcnemar_on_items_is_statsmodels(lost, won):
    first = np.array([1] * lost + [0] * won + [1] * 7 + [0] * 3)
    second = np.array([0] * lost + [1] * won + [1] * 7 + [0] * 3)
    found = mcnemar(first, second, units(len(first)))
    assert (found.lost, found.won) == (lost, won)
    oracle = contingency_tables.mcnemar([[7, lost], [won, 3]], exact=True)
    assert found.exact_p == pytest.approx(min(1.0, float(oracle.pvalue)), rel=1e-10)


@pytest.mark.parametrize(
    ("lost", "won", "mid"),
    # 2 · P(X ≤ fewer) − P(X = fewer), X binomial(lost + won, 1/2), by hand
    [(3, 0, 2 / 8 - 1 / 8), (4, 1, 2 * 6 / 32 - 5 / 32), (2, 2, 1.0), (0, 0, 1.0)],
)
def test_mid_p_by_hand(lost, won, mid):
    first = np.array([1] * lost + [0] * won + [1])
    second = np.array([0] * lost + [1] * won + [1])
    assert mcnemar(first, second, units(len(first))).mid_p == pytest.approx(mid)


def test_a_question_has_one_vote_however_many_rows_it_has():
    # question a loses two rows and wins one, b wins one, c loses and wins one
    first = np.array([1, 1, 0, 0, 1, 0])
    second = np.array([0, 0, 1, 1, 0, 1])
    found = mcnemar(first, second, np.array(list("aaabcc"), dtype=object))
    assert (found.lost, found.won, found.exact_p) == (1, 1, 1.0)


# Holm


@given(st.lists(st.floats(0, 1), min_size=1, max_size=9))
@settings(max_examples=25, deadline=None)
def test_holm_is_statsmodels(p_values):
    expected = multipletests(p_values, method="holm")[1]
    np.testing.assert_allclose(holm(p_values), expected, rtol=1e-12)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])


def test_holm_of_nothing_is_nothing():
    assert holm([]) == []


# a simulated study: questions of several rows, known effects


N_QUESTIONS, ROWS, REPETITIONS = 40, 5, 200


def studies(effect):
    """Answers of a model and of the masked model, right or wrong, and P(gold) of both.

    Rows of a question change together: its difficulty under the mask is drawn once, so the masked answers
    of a question are nearly all alike. `effect` lowers the share of right answers and P(gold).
    """
    generator = np.random.default_rng(11)
    of = np.repeat(units(N_QUESTIONS), ROWS)
    for _ in range(REPETITIONS):
        before, after = generator.normal(size=(2, N_QUESTIONS))
        before, after = (
            np.repeat(difficulty, ROWS) + 0.4 * generator.normal(size=len(of))
            for difficulty in (before, after - effect)
        )
        yield before > 0, after > 0, stats.norm.cdf(before), stats.norm.cdf(after), of


def error_rate(p_values):
    return float(np.mean(np.array(p_values) < 0.05))


HIGH, LOW = stats.binom.ppf((0.999, 0.001), REPETITIONS, 0.05) / REPETITIONS
"""Where the share of false findings of a 5 % test lies in 998 of 1000 studies of 200 repetitions."""


@pytest.fixture(scope="module")
def null_study():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(statistics, "RESAMPLES", 999)
        found = {name: [] for name in ("accuracy", "P(gold)", "McNemar", "mid-p", "items", "covered")}
        for first, second, p_first, p_second, of in studies(0.0):
            accuracy, gold = paired_differences(
                np.stack([second * 1.0 - first, p_second - p_first]), of, seed=1
            )
            found["accuracy"].append(accuracy.p_value)
            found["P(gold)"].append(gold.p_value)
            found["covered"].append(gold.interval[0] <= 0 <= gold.interval[1])
            voted = mcnemar(first, second, of)
            found["McNemar"].append(voted.exact_p)
            found["mid-p"].append(voted.mid_p)
            found["items"].append(mcnemar(first, second, units(len(of))).exact_p)
        return found


@pytest.mark.parametrize("test", ["accuracy", "P(gold)", "mid-p"])
def test_clustered_tests_keep_their_error_rate(null_study, test):
    assert LOW <= error_rate(null_study[test]) <= HIGH


def test_exact_mcnemar_over_questions_is_never_above_its_rate(null_study):
    assert error_rate(null_study["McNemar"]) <= HIGH


def test_intervals_of_clustered_items_cover(null_study):
    assert 1 - HIGH <= np.mean(null_study["covered"]) <= 1 - LOW


def test_a_test_that_takes_rows_for_independent_does_not_keep_its_error_rate(null_study):
    assert error_rate(null_study["items"]) > 4 * 0.05


def test_known_effects_are_estimated_and_detected(monkeypatch):
    monkeypatch.setattr(statistics, "RESAMPLES", 999)
    found = [paired_difference(first, second, of, seed=1) for first, second, _, _, of in studies(0.9)]
    # right where normal(0, 1.16) exceeds 0.9, against a half
    truth = stats.norm.sf(0.9, scale=np.sqrt(1.16)) - 0.5
    assert np.mean([one.effect for one in found]) == pytest.approx(truth, abs=0.02)
    assert error_rate([one.p_value for one in found]) > 0.7
    assert np.mean([one.interval[0] <= truth <= one.interval[1] for one in found]) > 0.9


def test_the_bootstrap_of_two_questions_counts_its_samples():
    both_fall = bootstrap_lower_p(np.array([[-1.0, -2.0]]), units(2), 0)
    assert both_fall == [1 / 10_000]  # no sample is as high as zero, and one is added
    # half of the samples hold both questions, whose mean is 0, and a quarter the one that rose
    (one_falls,) = bootstrap_lower_p(np.array([[-1.0, 1.0]]), units(2), 0)
    assert one_falls == pytest.approx(3 / 4, abs=0.02)
    assert np.isnan(bootstrap_lower_p(np.array([[-1.0, 1.0]]), units(1).repeat(2), 0)).all()


def test_a_single_vote_by_hand():
    """Two-sided: P(X ≤ 0) twice is 1; the mid p leaves out P(X = 0) once: 1/2."""
    assert _mcnemar_p(0, 1) == pytest.approx((1.0, 0.5))
    assert _mcnemar_p(0, 0) == (1.0, 1.0)
