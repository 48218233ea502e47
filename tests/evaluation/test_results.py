from __future__ import annotations

import json

import numpy as np
import pytest

from culnig.core.items import Item
from culnig.evaluation.conditions import Condition
from culnig.evaluation.results import adjusted, calibration_error, losses, result_rows
from tests.toy import answered, items

ASKED = items(["China"], questions=6, split="test")
NONE = Condition("unmasked", 1.0, np.empty(0, dtype=np.int64))
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
        ("blend", "unmasked"): answered(ASKED, RIGHT, 0.7),
        ("blend", "general"): answered(ASKED, [True, *WRONG[1:]], 0.05),
    }
    for number, condition in enumerate(RANDOM):
        correct = [place != number for place in range(6)]
        answers["blend", condition.name] = answered(ASKED, correct, 0.6)
    return rows_of(answers, [NONE, GENERAL, *RANDOM])


def test_the_unmasked_model_is_compared_with_nothing(rows):
    row = rows["unmasked"]
    assert (row["accuracy"], row["n"], row["n_questions"], row["n_neurons"]) == (1.0, 6, 6, 0)
    assert row["change"] is row["against_random"] is row["p_value"] is None


def test_metrics_are_means_over_items(rows):
    row = rows["general"]
    assert row["accuracy"] == pytest.approx(1 / 6)
    assert row["p_gold"] == pytest.approx(0.05)
    assert row["option_mass"] == pytest.approx(0.05 + 3 * 0.1)
    assert row["option_accuracy"] == 0.0
    assert row["chance"] == 0.25
    assert (row["factor"], row["n_neurons"], row["like"]) == (0.0, 3, None)


def test_a_change_is_condition_minus_unmasked(rows):
    change = rows["general"]["change"]
    assert change["accuracy"]["effect"] == pytest.approx(-5 / 6)
    assert change["p_gold"]["effect"] == pytest.approx(-0.65)
    assert set(change) == {"accuracy", "option_accuracy", "p_gold", "log_probability", "option_mass"}


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
    assert against["questions_p"] == 2 / 64
    assert (
        against["p_value"] == 1 / 4
    )  # each baseline has one wrong: they do not vary, so only the rank counts
    assert against["least_empirical_p"] == 1 / 4


def test_a_baseline_is_compared_with_the_unmasked_model_only(rows):
    row = rows["random 1 like general"]
    assert row["like"] == "general"
    assert row["change"]["accuracy"]["effect"] == pytest.approx(-1 / 6)
    assert row["against_random"] is None


def test_without_baselines_nothing_is_said_about_random():
    answers = {
        ("blend", "unmasked"): answered(ASKED, RIGHT),
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
        ("b", "unmasked"),
        ("b", "general"),
        ("a", "unmasked"),
        ("a", "general"),
    ]


def test_a_mask_that_changes_nothing_is_not_significant():
    answers = {("blend", c.name): answered(ASKED, RIGHT) for c in (NONE, GENERAL, *RANDOM)}
    row = rows_of(answers, [NONE, GENERAL, *RANDOM])["general"]
    assert row["p_value"] == 1.0
    assert row["change"]["accuracy"]["interval"] == [None, None]
    assert row["against_random"]["accuracy"]["p_value"] == 1.0
    assert row["against_random"]["accuracy"]["empirical_p"] == 1.0


def test_one_answer_that_changed_is_a_result_and_not_a_failure():
    answers = {
        ("blend", "unmasked"): answered(ASKED, RIGHT),
        ("blend", "general"): answered(ASKED, [False, *RIGHT[1:]]),
    }
    assert rows_of(answers, [NONE, GENERAL])["general"]["p_value"] == 1.0


def test_variants_of_one_question_are_one_unit():
    variants = items(["China"], questions=2, per_question=5, split="test")
    answers = {
        ("blend", "unmasked"): answered(variants, [True] * 10),
        ("blend", "general"): answered(variants, [False] * 10),
    }
    row = rows_of(answers, [NONE, GENERAL])["general"]
    assert (row["n"], row["n_questions"]) == (10, 2)
    assert row["p_value"] == 0.5


def test_rows_are_strict_json_even_where_there_is_no_interval():
    single = items(["China"], questions=1, per_question=2)
    answers = {
        ("blend", "unmasked"): answered(single, [True, True]),
        ("blend", "general"): answered(single, [False, False]),
        ("blend", RANDOM[0].name): answered(single, [True, False]),
    }
    rows = result_rows(answers, ["blend"], [NONE, GENERAL, RANDOM[0]])
    assert json.loads(json.dumps(rows, allow_nan=False)) == rows
    assert rows[1]["change"]["accuracy"]["interval"] == [None, None]


# where the accuracy went


def with_options(gold, best_other, *, correct=None):
    """Answers to ASKED: P(gold), P(best other label), and whether gold is on top of all tokens."""
    gold, best_other = np.broadcast_to(gold, 6), np.broadcast_to(best_other, 6)
    outcomes = answered(ASKED, gold > best_other if correct is None else correct, gold)
    for row, item in enumerate(ASKED):
        others = [place for place, label in enumerate(item.options) if label != item.answer]
        outcomes.option_probabilities[row, others] = [best_other[row], 0.0, 0.0]
    return outcomes


SURE = with_options(0.8, 0.1)


def test_labels_that_fade_in_order_are_pure_format_loss():
    faded = with_options(0.08, 0.01, correct=[False] * 6)
    parts = losses(SURE, faded)
    assert {name: int(part.sum()) for name, part in parts.items()} == {
        "accuracy": 6,
        "format": 6,
        "knowledge": 0,
    }


def test_another_label_that_wins_is_pure_knowledge_loss():
    parts = losses(SURE, with_options(0.1, 0.8))
    assert {name: int(part.sum()) for name, part in parts.items()} == {
        "accuracy": 6,
        "format": 0,
        "knowledge": 6,
    }


def test_a_format_that_comes_back_is_a_negative_loss():
    before = with_options(0.08, 0.01, correct=[False] * 6)
    assert losses(before, SURE)["format"].tolist() == [-1] * 6


def test_the_parts_add_up_item_by_item_whatever_happened():
    generator = np.random.default_rng(0)
    for _ in range(50):
        before, after = (
            with_options(gold, other, correct=(gold > other) & (generator.random(6) < 0.5))
            for gold, other in generator.random((2, 2, 6))
        )
        parts = losses(before, after)
        lost = before.correct.astype(int) - after.correct.astype(int)
        np.testing.assert_array_equal(parts["format"] + parts["knowledge"], lost)
        np.testing.assert_array_equal(parts["accuracy"], lost)


def test_rows_carry_the_split_with_intervals():
    after = with_options([0.08] * 3 + [0.1] * 2 + [0.8], [0.01] * 3 + [0.8] * 2 + [0.1])
    after.correct[:3] = False
    answers = {("blend", "unmasked"): SURE, ("blend", "general"): after}
    loss = rows_of(answers, [NONE, GENERAL])["general"]["loss"]
    assert [loss[name]["items"] for name in ("accuracy", "format", "knowledge")] == [5, 3, 2]
    assert loss["format"]["effect"] == 0.5
    assert loss["knowledge"]["interval"][0] <= 2 / 6 <= loss["knowledge"]["interval"][1]


# calibration, logarithms, several benchmarks


def test_calibration_error_by_hand():
    # certainty 0.75, right in 5 of 6: bins [0.7, 0.8) holds all, |0.75 - 5/6|
    outcomes = with_options([0.6] * 5 + [0.2], [0.2] * 5 + [0.6])
    assert calibration_error(outcomes) == pytest.approx(abs(0.75 - 5 / 6))


def test_calibration_error_weighs_bins_by_their_items():
    # five at certainty 0.75, all right; one at certainty 1, wrong
    outcomes = with_options([0.6] * 5 + [0.0], [0.2] * 5 + [0.5])
    assert calibration_error(outcomes) == pytest.approx((5 * 0.25 + 1 * 1.0) / 6)


def test_the_log_probability_is_a_mean_of_logarithms_and_never_infinite():
    outcomes = answered(ASKED, RIGHT, [0.5, 0.25, 0.125, 0.5, 0.5, 0.0])
    row = rows_of({("blend", "unmasked"): outcomes}, [NONE])["unmasked"]
    expected = np.log([0.5, 0.25, 0.125, 0.5, 0.5, np.finfo(np.float32).tiny]).mean()
    assert row["log_probability"] == pytest.approx(expected)


def test_p_is_adjusted_over_the_benchmarks_of_a_condition():
    names = ("a", "b", "c")
    answers = {}
    for number, name in enumerate(names):
        answers[name, "unmasked"] = answered(ASKED, RIGHT)
        answers[name, "general"] = answered(ASKED, [False] * (6 - number) + [True] * number)
    rows = [row for row in result_rows(answers, names, [NONE, GENERAL]) if row["condition"] == "general"]
    assert [row["p_value"] for row in rows] == [2 / 64, 2 / 32, 2 / 16]
    assert [row["p_holm"] for row in rows] == pytest.approx([6 / 64, 4 / 32, 2 / 16])
    assert [row["change"]["accuracy"]["p_holm"] for row in rows] == [row["p_holm"] for row in rows]


def test_p_against_random_is_adjusted_over_the_benchmarks_too():
    answers = {}
    for name, p_gold in (("a", 0.1), ("b", 0.3)):
        answers[name, "unmasked"] = answered(ASKED, RIGHT, 0.9)
        answers[name, "general"] = answered(ASKED, RIGHT, p_gold)
        for number, condition in enumerate(RANDOM):
            answers[name, condition.name] = answered(ASKED, RIGHT, 0.5 + 0.1 * number)
    rows = result_rows(answers, ["a", "b"], [NONE, GENERAL, *RANDOM])
    tests = [row["against_random"]["p_gold"] for row in rows if row["condition"] == "general"]
    # means 0.5, 0.6, 0.7: s = 0.1, error 0.1 √(4/3); t(2) has P(T < t) = (1 + t / √(2 + t²)) / 2
    t = np.array([-5.0, -3.0]) / np.sqrt(4 / 3)
    expected = (1 + t / np.sqrt(2 + t**2)) / 2
    assert [test["p_value"] for test in tests] == pytest.approx(expected.tolist())
    assert [test["p_holm"] for test in tests] == pytest.approx(
        [2 * expected[0], max(2 * expected[0], expected[1])]
    )


def test_mcnemar_and_the_papers_bootstrap_are_in_the_rows(rows):
    expected = {"lost": 5, "won": 0, "exact_p": 2 / 2**5, "mid_p": 1 / 2**5}
    assert rows["general"]["mcnemar"] == pytest.approx(expected)
    assert 0 < rows["general"]["against_random"]["accuracy"]["bootstrap_p"] < 0.05
    assert rows["unmasked"]["mcnemar"] is None


def test_a_benchmark_of_one_item_has_numbers_where_there_are_some():
    one = items(["China"], questions=1)
    answers = {
        ("blend", "unmasked"): answered(one, [True]),
        ("blend", "general"): answered(one, [False], 0.1),
        ("blend", RANDOM[0].name): answered(one, [True]),
    }
    row = rows_of(answers, [NONE, GENERAL, RANDOM[0]])["general"]
    assert row["change"]["accuracy"]["effect"] == -1
    assert row["change"]["accuracy"]["interval"] == [None, None]
    assert row["change"]["accuracy"]["standard_error"] is None
    assert row["against_random"]["accuracy"]["bootstrap_p"] is None
    assert json.dumps(row, allow_nan=False)


@pytest.mark.parametrize("all_of_them", [True, False])
def test_all_right_or_all_wrong_is_not_a_failure(all_of_them):
    answers = {("blend", c.name): answered(ASKED, [all_of_them] * 6) for c in (NONE, GENERAL, *RANDOM)}
    row = rows_of(answers, [NONE, GENERAL, *RANDOM])["general"]
    assert row["p_value"] == row["p_holm"] == 1.0
    assert row["change"]["accuracy"]["detectable"] is None
    assert json.dumps(row, allow_nan=False)


def test_chance_is_the_mean_over_items_of_one_in_so_many_labels():
    asked = [
        Item(f"i{n}", f"q{n}", "China", "test", "?", labels, "A")
        for n, labels in enumerate([("A", "B"), ("A", "B", "C", "D"), ("A", "B"), ("A", "B", "C", "D", "E")])
    ]
    (row,) = result_rows({("blend", "unmasked"): answered(asked, [True] * 4)}, ["blend"], [NONE])
    assert row["chance"] == pytest.approx((1 / 2 + 1 / 4 + 1 / 2 + 1 / 5) / 4)


def with_p(condition, benchmark, accuracy, p_gold, against=None):
    def metrics(*values):
        return {name: {"p_value": p} for name, p in zip(("accuracy", "p_gold"), values, strict=True)}

    return {
        "condition": condition,
        "benchmark": benchmark,
        "change": metrics(accuracy, p_gold),
        "against_random": None if against is None else metrics(*against),
    }


def test_p_is_adjusted_over_the_benchmarks_of_a_condition_and_metric_alone():
    """Holm: the lower of two is doubled, and the higher is at least as much."""
    rows = adjusted(
        [
            with_p("one", "blend", 0.01, 0.6, against=(0.03, 0.2)),
            with_p("one", "normad", 0.04, 0.7, against=(0.02, 0.5)),
            with_p("two", "blend", 0.2, 0.003),
            with_p("two", "normad", 0.03, 0.001),
        ]
    )
    found = [(row["change"]["accuracy"]["p_holm"], row["change"]["p_gold"]["p_holm"]) for row in rows]
    np.testing.assert_allclose(found, [(0.02, 1.0), (0.04, 1.0), (0.2, 0.003), (0.06, 0.002)])
    against = [row["against_random"] for row in rows]
    assert [one["accuracy"]["p_holm"] for one in against[:2]] == pytest.approx([0.04, 0.04])
    assert [one["p_gold"]["p_holm"] for one in against[:2]] == pytest.approx([0.4, 0.5])
    assert against[2:] == [None, None]
    assert [row["p_value"] for row in rows] == [0.01, 0.04, 0.2, 0.03]
    assert [row["p_holm"] for row in rows] == pytest.approx([0.02, 0.04, 0.2, 0.06])


def test_errors_of_two_bins_do_not_cancel():
    # three at certainty 0.75 are wrong; three at 0.26 of four labels are right
    outcomes = with_options([0.25] * 3 + [0.26] * 3, 0.75)
    for row, item in list(enumerate(ASKED))[3:]:
        others = [place for place, label in enumerate(item.options) if label != item.answer]
        outcomes.option_probabilities[row, others] = 0.74 / 3
    assert outcomes.option_correct.tolist() == [False] * 3 + [True] * 3
    assert calibration_error(outcomes) == pytest.approx((3 * 0.75 + 3 * 0.74) / 6)


def test_resamples_have_the_seed_0_unless_another_is_given():
    asked = items(["China"], questions=20, split="test")
    answers = {("blend", "unmasked"): answered(asked, [True] * 20, np.linspace(0.3, 0.9, 20))}
    answers["blend", "general"] = answered(asked, [True] * 20, np.linspace(0.2, 0.9, 20) ** 2)
    plain, zero, one = (
        result_rows(answers, ["blend"], [NONE, GENERAL], *seed)[1]["change"]["p_gold"]
        for seed in ((), (0,), (1,))
    )
    assert plain == zero != one
