from __future__ import annotations

from dataclasses import replace

import numpy as np

from culnig.core.outcomes import Outcomes
from tests.toy import answered, items


def one(probabilities, gold="A", options=("A", "B", "C")):
    item = replace(items(["China"], questions=1)[0], options=options, answer=gold)
    outcomes = Outcomes.empty([item])
    outcomes.option_probabilities[0, : len(probabilities)] = probabilities
    return outcomes


def test_empty_holds_what_identifies_each_item_in_order():
    asked = items(["China", "Iran"], questions=2)
    outcomes = Outcomes.empty(asked)
    assert outcomes.id.tolist() == ["China-0-0", "China-1-0", "Iran-0-0", "Iran-1-0"]
    assert outcomes.gold.tolist() == ["A", "B", "C", "D"]
    assert outcomes.culture.tolist() == ["China", "China", "Iran", "Iran"]
    assert outcomes.topic.tolist() == ["Sport", "Food", "Sport", "Food"]
    assert outcomes.split.tolist() == ["identify"] * 4
    assert outcomes.predicted.tolist() == [""] * 4
    assert not outcomes.correct.any()


def test_option_mass_is_the_probability_on_all_labels():
    assert one([0.25, 0.125, 0.5]).option_mass.tolist() == [0.875]


def test_option_mass_ignores_room_beyond_the_last_label():
    asked = items(["China"], questions=2)
    outcomes = Outcomes.empty([asked[0], replace(asked[1], options=("A", "B"))])
    outcomes.option_probabilities[0] = 0.125
    outcomes.option_probabilities[1, :2] = 0.25
    assert np.isnan(outcomes.option_probabilities[1, 2:]).all()
    assert outcomes.option_mass.tolist() == [0.5, 0.5]


def test_option_correct_looks_at_the_labels_alone():
    assert one([0.02, 0.01, 0.01]).option_correct.tolist() == [True]
    assert one([0.02, 0.03, 0.01]).option_correct.tolist() == [False]
    assert one([0.02, 0.03, 0.01], gold="B").option_correct.tolist() == [True]


def test_option_correct_follows_the_order_shown_not_the_alphabet():
    assert one([0.7, 0.2, 0.1], gold="C", options=("C", "A", "B")).option_correct.tolist() == [True]


def test_a_lost_format_shows_as_wrong_answers_with_right_options():
    outcomes = answered(items(["China"], questions=3), [False, False, False], gold_probability=0.2)
    assert outcomes.correct.mean() == 0
    assert outcomes.option_correct.mean() == 1


def test_the_unit_is_the_question_in_all_its_rows_and_cultures():
    units = Outcomes.empty(items(["China", "Iran"], questions=2, per_question=3)).units
    assert len(units) == 12
    assert len(set(units)) == 2
    assert len(set(units[:3])) == 1


def test_no_items_give_empty_answers():
    outcomes = Outcomes.empty([])
    assert outcomes.option_mass.shape == outcomes.option_correct.shape == outcomes.units.shape == (0,)


def test_answers_are_asked_as_todays_questions():
    asked = [replace(item, unit="one question") for item in items(["China", "Iran"], questions=2)]
    outcomes = Outcomes.empty(items(["China", "Iran"], questions=2))
    assert set(outcomes.asked_as(asked).units) == {"one question"}
    assert len(set(outcomes.units)) == 2
