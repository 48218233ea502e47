from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from culnig.core.outcomes import Outcomes
from culnig.errors import InputError
from culnig.reanalysis.choice import ItemChoice
from tests.toy import items

ANSWERS = Outcomes.empty(items(questions=5, per_question=2))
"""4 cultures × 5 questions × 2 items."""


def chosen(**options):
    return ItemChoice(**options).counts(ANSWERS)


def test_without_a_choice_every_item_counts_once():
    assert chosen().tolist() == [1] * 40


def test_cultures_and_ids_choose_and_leave_out():
    assert set(ANSWERS.culture[chosen(cultures=("Iran", "Spain")) > 0]) == {"Iran", "Spain"}
    assert set(ANSWERS.culture[chosen(without_cultures=("Iran",)) > 0]) == {"China", "Mexico", "Spain"}
    assert ANSWERS.id[chosen(items=("Iran-?-0",)) > 0].tolist() == [f"Iran-{n}-0" for n in range(5)]
    assert chosen(without_items=("Iran-*", "China-0-1")).sum() == 40 - 10 - 1


def test_halves_split_questions_and_hold_each_once():
    first, second = chosen(half=1, seed=3), chosen(half=2, seed=3)
    np.testing.assert_array_equal(first + second, 1)
    for culture in ("China", "Iran"):
        of_first = set(ANSWERS.question_id[(first > 0) & (ANSWERS.culture == culture)])
        of_second = set(ANSWERS.question_id[(second > 0) & (ANSWERS.culture == culture)])
        assert (len(of_first), len(of_second)) == (3, 2)
        assert not of_first & of_second


def test_a_bootstrap_draws_as_many_questions_as_there_are():
    counts = chosen(bootstrap=True, seed=1)
    assert counts.max() > 1
    for culture in ("China", "Iran", "Mexico", "Spain"):
        own = counts[ANSWERS.culture == culture].reshape(5, 2)
        np.testing.assert_array_equal(own[:, 0], own[:, 1])  # a question comes whole
        assert own[:, 0].sum() == 5


def test_all_cultures_of_a_question_are_drawn_together():
    for options in ({"half": 1}, {"half": 2}, {"bootstrap": True}):
        counts = chosen(**options, seed=4).reshape(4, 5, 2)
        np.testing.assert_array_equal(counts, np.broadcast_to(counts[:1, :, :1], counts.shape))
    halved = chosen(half=1, seed=4).reshape(4, 5, 2)[0, :, 0]
    assert halved.sum() == 3


def test_questions_of_single_cultures_are_halved_within_each():
    alone = [replace(item, question_id=f"{item.culture}-{item.question_id}") for item in items(questions=5)]
    answers = Outcomes.empty(alone)
    first, second = (ItemChoice(half=half, seed=1).counts(answers).reshape(4, 5) for half in (1, 2))
    assert first.sum(axis=1).tolist() == [3] * 4
    np.testing.assert_array_equal(first + second, 1)


def test_a_culture_without_a_drawn_question_is_refused():
    asked = [*items(questions=4), replace(items(questions=1)[0], id="x", culture="Peru")]
    without_q0 = next(
        half for half in (1, 2) if not ItemChoice(half=half).counts(Outcomes.empty(asked[:-1]))[0]
    )
    with pytest.raises(
        InputError, match="Peru: none of its questions was drawn; give another seed, or score"
    ):
        ItemChoice(half=without_q0).counts(Outcomes.empty(asked))
    assert ItemChoice(half=3 - without_q0).counts(Outcomes.empty(asked))[-1] == 1


def test_a_record_says_what_was_drawn():
    assert ItemChoice(half=1).record()["drawn"] == "whole questions"
    assert "drawn" not in ItemChoice(cultures=("Iran",)).record()


def test_draws_follow_the_seed():
    np.testing.assert_array_equal(chosen(bootstrap=True, seed=7), chosen(bootstrap=True, seed=7))
    assert (chosen(bootstrap=True, seed=7) != chosen(bootstrap=True, seed=8)).any()


def test_the_draw_of_a_question_is_the_same_in_another_order_of_items():
    mixed = np.random.default_rng(0).permutation(40)
    counts = ItemChoice(bootstrap=True, seed=2).counts(ANSWERS.take(mixed))
    np.testing.assert_array_equal(counts, chosen(bootstrap=True, seed=2)[mixed])


@pytest.mark.parametrize(
    ("options", "message"),
    [({"half": 3}, "half is 3; 1 or 2"), ({"half": 1, "bootstrap": True}, "cannot be combined")],
)
def test_impossible_choices_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        ItemChoice(**options)
