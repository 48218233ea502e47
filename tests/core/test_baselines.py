"""A condition against random baselines: by hand, and against statsmodels' prediction of a new observation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from statsmodels.regression.linear_model import OLS

from culnig.core import statistics
from culnig.core.baselines import against_random


def units(n):
    return np.array([f"question {number}" for number in range(n)], dtype=object)


def against(condition, random, of, **options):
    """One metric against random baselines, (baseline, item)."""
    return against_random(np.array([condition]), np.array([random]), of, **options)[0]


def test_the_effect_against_random_is_to_their_mean():
    random = np.array([[1, 1, 1, 0], [1, 1, 0, 0]], dtype=bool)
    found = against(np.array([True, False, False, False]), random, units(4))
    assert found.n_random == 2
    assert found.effect == pytest.approx(0.25 - (0.75 + 0.5) / 2)


@pytest.mark.parametrize("n_random", [2, 3, 10, 19, 40])
def test_p_is_that_of_a_new_observation_in_a_regression(n_random):
    generator = np.random.default_rng(n_random)
    random, condition = generator.normal(size=(n_random, 8)), generator.normal(size=8) - 0.5
    found = against(condition, random, units(8))
    fitted = OLS(random.mean(axis=1), np.ones(n_random)).fit()
    predicted = fitted.get_prediction([[1.0]]).summary_frame(alpha=0.05).iloc[0]
    half = predicted["obs_ci_upper"] - predicted["mean"]
    assert found.interval == pytest.approx((found.effect - half, found.effect + half), rel=1e-9)
    error = half / stats.t.ppf(0.975, n_random - 1)
    assert found.standard_error == pytest.approx(error, rel=1e-9)
    assert found.p_value == pytest.approx(stats.t.cdf(found.effect / error, n_random - 1), rel=1e-9)


def test_prediction_t_by_hand():
    # means 1, 2, 3: mean 2, s = 1; condition 0: t = -2 / √(4/3) = -√3, and t(2) has P(T < -√3) by
    # 1/2 (1 - √3 / √(2 + 3))
    found = against(np.zeros(4), np.array([[1.0] * 4, [2.0] * 4, [3.0] * 4]), units(4))
    assert found.p_value == pytest.approx(0.5 * (1 - np.sqrt(3 / 5)))
    assert found.standard_error == pytest.approx(np.sqrt(4 / 3))


def test_the_p_value_of_ten_baselines_can_be_small_but_not_their_rank():
    random = np.random.default_rng(1).normal(size=(10, 20))
    found = against(np.full(20, -5.0), random, units(20))
    assert found.p_value < 0.001
    assert found.empirical_p == found.least_empirical_p == 1 / 11


@pytest.mark.parametrize("n_random", [1, 4])
def test_baselines_that_do_not_vary_leave_only_the_rank(n_random):
    found = against(np.zeros(8), np.ones((n_random, 8)), units(8))
    assert found.p_value == found.empirical_p == 1 / (n_random + 1)
    assert np.isnan([*found.interval, found.detectable]).all()


def test_the_test_over_questions_counts_sign_patterns():
    lower, higher = np.zeros(8), np.ones(8)
    assert against(lower, np.ones((3, 8)), units(8)).questions_p == 1 / 2**8
    assert against(higher, np.zeros((3, 8)), units(8)).questions_p == 1.0


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
    found = against(np.array([True, True, False, False]), random, units(4))
    assert found.empirical_p == expected


def test_rounding_of_the_mean_is_not_a_difference():
    # the mean of three 0.1 is 0.10000000000000002: every unit would be "lower"
    found = against(np.full(12, 0.1), np.full((3, 12), 0.1), units(12))
    assert found.p_value == found.questions_p == 1.0


def test_as_low_is_not_decided_by_rounding():
    condition = np.array([0.1, 0.2, 0.3])
    assert against(condition, condition[::-1][np.newaxis], units(3)).empirical_p == 1.0


@pytest.mark.parametrize("shift", [-0.4, 0.0, 0.4])
def test_bootstrap_p_is_the_normal_tail_of_the_clustered_error(shift):
    generator = np.random.default_rng(5)
    of = np.repeat(units(60), 4)
    noise = np.repeat(generator.normal(size=60), 4) + generator.normal(size=240)
    random = generator.normal(size=(5, 240)) * 0.01
    found = against(noise - noise.mean() + shift, random, of)
    groups = np.repeat(np.arange(60), 4)
    clustered = OLS(noise - noise.mean() + shift - random.mean(axis=0), np.ones(240)).fit(
        cov_type="cluster", cov_kwds={"groups": groups}
    )
    z = float(clustered.tvalues[0])
    assert found.bootstrap_p == pytest.approx(stats.norm.cdf(z), abs=0.03)


def test_bootstrap_p_is_one_where_nothing_is_lower_and_smallest_where_all_is():
    same = against(np.ones(8), np.ones((3, 8)), units(8))
    lower = against(np.zeros(8), np.ones((3, 8)), units(8))
    assert same.bootstrap_p == 1.0
    assert lower.bootstrap_p == 1 / (statistics.RESAMPLES + 1)


def test_each_metric_has_the_result_that_it_has_alone():
    generator = np.random.default_rng(7)
    random, condition = generator.normal(size=(3, 5, 30)), generator.normal(size=(3, 30)) - 0.3
    random[1] = random[1, 0]  # baselines that do not vary
    condition[2, :4] = random[2, :, :4].mean(axis=0)  # questions without a difference
    together = against_random(condition, random, units(30))
    alone = [against(own, baselines, units(30)) for own, baselines in zip(condition, random, strict=True)]
    for found, expected in zip(together, alone, strict=True):
        for name, value in vars(expected).items():
            assert getattr(found, name) == pytest.approx(value, rel=1e-12, nan_ok=True), name
    assert len({found.p_value for found in together}) == 3
