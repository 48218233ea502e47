"""A simulation of what the tests promise: error rates, coverage and power. Seeded; about half a minute.

Studies have 12 or 60 questions, each asked about 16 cultures. Cultures share the effect of a mask on a
question (correlation ρ), and random sets of neurons may differ in strength (SD of their true effects). Values
are normal, or right and wrong answers that cut normal values at zero; the more the questions differ in
difficulty, the fewer answers change. Sums of right answers take few values: there a test rejects as often as
`attainable` says, which is below 5 %.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from culnig.core import statistics
from culnig.core.baselines import against_random
from culnig.core.statistics import holm, mcnemar, paired_differences
from tests.core.attainable import of_sign_flips, of_votes, within

CULTURES = 16
STUDIES = 2_000
DIFFICULTY, NOISE = 0.2, 0.2
LOW, HIGH = 0.035, 0.07
KINDS = ("normal", "right or wrong")

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch):
    monkeypatch.setattr(statistics, "RESAMPLES", 499)


def studies(generator, n, questions, sets, rho, spread=0.0, kind="normal", difficult=DIFFICULTY):
    """Values of several sets over the same items, (study, set, item); no set differs from another on average.

    `spread` is the SD of the sets' true effects, in units of the value (right answers: near one half).
    """

    def normal(*shape):
        return generator.standard_normal(shape, dtype=np.float32)

    difficulty = difficult * normal(n, 1, questions, 1)
    shared, own = normal(n, sets, questions, 1), normal(n, sets, questions, CULTURES)
    values = own  # in place and in float32: these arrays are large
    values *= NOISE * math.sqrt(1 - rho)
    values += difficulty + NOISE * math.sqrt(rho) * shared
    strength = spread * normal(n, sets, 1, 1)
    if kind == "normal":
        values += strength
        return values.reshape(n, sets, -1)
    slope = math.sqrt(difficult**2 + NOISE**2) / stats.norm.pdf(0)
    return (values > -float(slope) * strength).astype(np.float64).reshape(n, sets, -1)


def units(questions):
    return np.repeat(np.array([f"question {n}" for n in range(questions)], dtype=object), CULTURES)


def rate(p_values):
    return float(np.mean(np.array(p_values) <= 0.05))


@pytest.mark.parametrize(
    ("kind", "difficult"), [("normal", 0.2), ("right or wrong", 0.2), ("right or wrong", 0.4)]
)
@pytest.mark.parametrize("rho", [0.0, 0.2, 0.5])
@pytest.mark.parametrize("questions", [12, 60])
def test_a_change_is_significant_in_one_of_twenty_studies_without_one(questions, rho, kind, difficult):
    generator = np.random.default_rng([questions, int(10 * rho), KINDS.index(kind)])
    pair = studies(generator, STUDIES, questions, 2, rho, kind=kind, difficult=difficult)
    exact = questions == 12
    with pytest.MonkeyPatch.context() as patch:
        if exact:
            patch.setattr(statistics, "RESAMPLES", 2**12)  # all patterns, as with the default
        found = paired_differences(pair[:, 1] - pair[:, 0], units(questions))
    significant = rate([one.p_value for one in found])
    covered = np.mean([one.interval[0] <= 0 <= one.interval[1] for one in found])
    assert covered >= 0.93
    assert significant <= HIGH
    if kind == "normal":
        assert significant >= LOW
        return
    sums = (pair[:, 1] - pair[:, 0]).reshape(STUDIES, questions, CULTURES).sum(axis=2)
    assert within(significant, of_sign_flips(sums[::4], None if exact else 499).mean(), STUDIES)
    voted = [mcnemar(before, after, units(questions)) for before, after in pair[:500]]
    for name in ("exact", "mid"):
        level = np.mean([of_votes(one.lost + one.won, mid=name == "mid") for one in voted])
        assert within(rate([getattr(one, f"{name}_p") for one in voted]), level, 500)
        assert level <= 0.052 if name == "mid" else level <= 0.05


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("spread", [0.0, 0.05])
@pytest.mark.parametrize("rho", [0.0, 0.2, 0.5])
@pytest.mark.parametrize("questions", [12, 60])
def test_a_set_like_the_random_ones_is_beyond_them_in_one_of_twenty_studies(
    questions, rho, spread, kind, monkeypatch
):
    generator = np.random.default_rng([questions, int(10 * rho), int(100 * spread), KINDS.index(kind), 1])
    p_values, ranks, covered, lowest = [], [], [], []
    monkeypatch.setattr(statistics, "RESAMPLES", 19)  # the tests over questions are not looked at here
    for _ in range(3):
        sets = studies(generator, STUDIES // 4, questions, 20, rho, spread, kind)
        ten, nineteen = (against_random(sets[:, 0], sets[:, 1:n], units(questions)) for n in (11, 20))
        p_values.append([[one.p_value for one in found] for found in (ten, nineteen)])
        covered += [one.interval[0] <= 0 <= one.interval[1] for one in ten]
        ranks += [one.empirical_p for one in nineteen]
        ordered = np.sort(sets.mean(axis=2), axis=1)
        lowest += (ordered[:, 0] < ordered[:, 1] - 1e-9).tolist()
        assert min(one.empirical_p for one in ten) >= 1 / 11 > 0.05
    assert LOW <= rate([p_ten for p_ten, _ in p_values]) <= HIGH
    assert LOW <= rate([p_nineteen for _, p_nineteen in p_values]) <= HIGH
    # of twenty sets that differ in nothing each is as likely to be the only lowest; ties are no finding
    assert within(rate(ranks), np.mean(lowest) / 20, len(ranks))
    assert rate(ranks) <= HIGH
    assert rate(ranks) >= LOW or kind != "normal"
    assert np.mean(covered) >= 0.93


def test_a_test_that_takes_the_mean_of_the_baselines_as_exact_does_not_keep_its_level():
    sets = studies(np.random.default_rng(2), 500, 60, 11, 0.2, 0.05)
    found = against_random(sets[:, 0], sets[:, 1:], units(60))
    assert rate([one.questions_p for one in found]) > 0.2
    assert rate([one.bootstrap_p for one in found]) > 0.2


@pytest.mark.parametrize(("kind", "least"), [("normal", 0.93), ("right or wrong", 0.92)])
@pytest.mark.parametrize("questions", [9, 12, 24])
def test_intervals_of_few_questions_cover_the_effect(questions, kind, least):
    generator = np.random.default_rng([questions, KINDS.index(kind), 3])
    shift = 0.1
    values = studies(generator, STUDIES, questions, 2, 0.2)
    before, after = values[:, 0], values[:, 1] - shift
    truth = -shift
    if kind == "right or wrong":
        before, after = before > 0, after > 0
        truth = stats.norm.cdf(-shift / np.hypot(DIFFICULTY, NOISE)) - 0.5
    found = paired_differences(after * 1.0 - before, units(questions))
    assert np.mean([one.interval[0] <= truth <= one.interval[1] for one in found]) >= least


@pytest.mark.parametrize("questions", [6, 7, 8, 9, 12, 24])
def test_the_detectable_effect_is_found_in_four_of_five_studies(questions):
    generator = np.random.default_rng([questions, 4])
    pair = studies(generator, STUDIES, questions, 2, 0.2)
    difference = pair[:, 1] - pair[:, 0]
    # the error of the truth: per question 2 · 0.04 · (ρ + (1 − ρ) / 16)
    error = np.sqrt(2 * 0.04 * (0.2 + 0.8 / CULTURES) / questions)
    factor = np.mean(
        [one.detectable / one.standard_error for one in paired_differences(difference[:5], units(questions))]
    )
    found = paired_differences(difference + factor * error, units(questions))
    assert 0.75 <= rate([one.p_value for one in found]) <= 0.85


@pytest.mark.parametrize("n_random", [5, 10, 19])
def test_the_fall_detectable_against_random_sets_is_found_in_four_of_five_studies(n_random):
    generator = np.random.default_rng([n_random, 5])
    sets = studies(generator, STUDIES, 12, 1 + n_random, 0.2, 0.05)
    # variance of a set's mean: 0.05² and, per question, 0.04 · (ρ + (1 − ρ) / 16)
    error = np.sqrt((0.05**2 + 0.04 * (0.2 + 0.8 / CULTURES) / 12) * (1 + 1 / n_random))
    one = against_random(sets[:1, 0], sets[:1, 1:], units(12))[0]
    fall = one.detectable / one.standard_error * error
    found = against_random(sets[:, 0] - fall, sets[:, 1:], units(12))
    assert 0.75 <= rate([one.p_value for one in found]) <= 0.85


@pytest.mark.parametrize("benchmarks", [2, 4])
def test_any_of_several_benchmarks_is_significant_in_one_of_twenty_studies(benchmarks):
    generator = np.random.default_rng([benchmarks, 6])
    pairs = [studies(generator, STUDIES, 12, 2, 0.2) for _ in range(benchmarks)]
    found = [paired_differences(pair[:, 1] - pair[:, 0], units(12), seed=n) for n, pair in enumerate(pairs)]
    least = [min(holm([one.p_value for one in study])) for study in zip(*found, strict=True)]
    assert LOW <= rate(least) <= HIGH
