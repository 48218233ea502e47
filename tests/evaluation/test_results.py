from __future__ import annotations

import json

import numpy as np
import pytest

from culnig.evaluation.conditions import Condition
from culnig.evaluation.results import result_rows
from tests.toy import answered, items

ASKED = items(["China", "Iran"], questions=3, split="test")
NONE = Condition("none", 1.0, np.empty(0, dtype=np.int64))
GENERAL = Condition("general", 0.0, np.array([8, 0, 36]))
RANDOM = [
    Condition(f"random {seed} like general", 0.0, np.array([1, 2, 3]), like="general") for seed in range(3)
]

RIGHT = [True] * 6
WRONG = [False] * 6


def rows_of(answers, conditions):
    rows = result_rows(answers, ["blend"], conditions)
    return {row["condition"]: row for row in rows}


@pytest.fixture
def rows():
    """Unmasked all right; masked one right; random one wrong each."""
    answers = {
        ("blend", "none"): answered(ASKED, RIGHT, 0.7),
        ("blend", "general"): answered(ASKED, [True, *WRONG[1:]], 0.05),
    }
    for number, condition in enumerate(RANDOM):
        correct = [place != number for place in range(6)]
        answers["blend", condition.name] = answered(ASKED, correct, 0.6)
    return rows_of(answers, [NONE, GENERAL, *RANDOM])


def test_the_unmasked_model_is_compared_with_nothing(rows):
    row = rows["none"]
    assert (row["accuracy"], row["n"], row["n_units"], row["n_neurons"]) == (1.0, 6, 6, 0)
    assert row["change"] is row["against_random"] is row["p_value"] is None


def test_metrics_are_means_over_items(rows):
    row = rows["general"]
    assert row["accuracy"] == pytest.approx(1 / 6)
    assert row["confidence"] == pytest.approx(0.05)
    assert row["option_mass"] == pytest.approx(0.05 + 3 * 0.1)
    assert row["option_accuracy"] == 0.0
    assert row["chance"] == 0.25
    assert (row["factor"], row["n_neurons"], row["like"]) == (0.0, 3, None)


def test_a_change_is_condition_minus_unmasked(rows):
    change = rows["general"]["change"]
    assert change["accuracy"]["effect"] == pytest.approx(-5 / 6)
    assert change["confidence"]["effect"] == pytest.approx(-0.65)
    assert set(change) == {"accuracy", "option_accuracy", "confidence", "option_mass"}


def test_p_of_the_row_is_that_of_accuracy_two_sided(rows):
    # five of five changed units fell: 2 * (1/2)^5
    assert rows["general"]["p_value"] == rows["general"]["change"]["accuracy"]["p_value"] == 2 / 2**5


def test_against_random_is_one_sided_and_counts_the_baselines(rows):
    against = rows["general"]["against_random"]["accuracy"]
    assert against["n_random"] == 3
    assert against["effect"] == pytest.approx(1 / 6 - 5 / 6)
    assert against["empirical_p"] == 1 / 4
    # unit 0 is above the mean of the baselines (+1/3), 1 and 2 are 2/3 below, 3 to 5 are 1 below: of the 64
    # sign patterns only all below, and this one, are as low
    assert against["p_value"] == 2 / 64


def test_a_baseline_is_compared_with_the_unmasked_model_only(rows):
    row = rows["random 1 like general"]
    assert row["like"] == "general"
    assert row["change"]["accuracy"]["effect"] == pytest.approx(-1 / 6)
    assert row["against_random"] is None


def test_without_baselines_nothing_is_said_about_random():
    answers = {
        ("blend", "none"): answered(ASKED, RIGHT),
        ("blend", "general"): answered(ASKED, WRONG),
    }
    assert rows_of(answers, [NONE, GENERAL])["general"]["against_random"] is None


def test_baselines_of_another_set_do_not_count():
    other = Condition("specific China", 0.0, np.array([5]))
    answers = {("blend", c.name): answered(ASKED, RIGHT) for c in (NONE, GENERAL, other, *RANDOM)}
    rows = rows_of(answers, [NONE, GENERAL, *RANDOM, other])
    assert rows["specific China"]["against_random"] is None
    assert rows["general"]["against_random"]["accuracy"]["n_random"] == 3


def test_rows_come_by_benchmark_and_then_condition():
    answers = {
        (benchmark, condition.name): answered(ASKED, RIGHT)
        for benchmark in ("a", "b")
        for condition in (NONE, GENERAL)
    }
    rows = result_rows(answers, ["b", "a"], [NONE, GENERAL])
    assert [(row["benchmark"], row["condition"]) for row in rows] == [
        ("b", "none"),
        ("b", "general"),
        ("a", "none"),
        ("a", "general"),
    ]


def test_a_mask_that_changes_nothing_is_not_significant():
    answers = {("blend", c.name): answered(ASKED, RIGHT) for c in (NONE, GENERAL, *RANDOM)}
    row = rows_of(answers, [NONE, GENERAL, *RANDOM])["general"]
    assert row["p_value"] == 1.0
    assert row["change"]["accuracy"]["interval"] == [0.0, 0.0]
    assert row["against_random"]["accuracy"]["p_value"] == 1.0
    assert row["against_random"]["accuracy"]["empirical_p"] == 1.0


def test_one_answer_that_changed_is_a_result_and_not_a_failure():
    answers = {
        ("blend", "none"): answered(ASKED, RIGHT),
        ("blend", "general"): answered(ASKED, [False, *RIGHT[1:]]),
    }
    assert rows_of(answers, [NONE, GENERAL])["general"]["p_value"] == 1.0


def test_variants_of_one_question_are_one_unit():
    variants = items(["China"], questions=2, per_question=5, split="test")
    answers = {
        ("blend", "none"): answered(variants, [True] * 10),
        ("blend", "general"): answered(variants, [False] * 10),
    }
    row = rows_of(answers, [NONE, GENERAL])["general"]
    assert (row["n"], row["n_units"]) == (10, 2)
    assert row["p_value"] == 0.5


def test_rows_are_strict_json_even_where_there_is_no_interval():
    single = items(["China"], questions=1, per_question=2)
    answers = {
        ("blend", "none"): answered(single, [True, True]),
        ("blend", "general"): answered(single, [False, False]),
        ("blend", RANDOM[0].name): answered(single, [True, False]),
    }
    rows = result_rows(answers, ["blend"], [NONE, GENERAL, RANDOM[0]])
    assert json.loads(json.dumps(rows, allow_nan=False)) == rows
    assert rows[1]["change"]["accuracy"]["interval"] == [None, None]
