from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from culnig.core.outcomes import Outcomes, alignment, similarity
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


def of_two_widths():
    """Answers to an item with two labels, and to one with four."""
    first, second = items(["China"], questions=2)
    first = replace(first, options=("A", "B"))
    outcomes = Outcomes.empty([first, second])
    outcomes.option_probabilities[:] = [[0.5, 0.25, np.nan, np.nan], [0.1, 0.2, 0.3, 0.4]]
    outcomes.predicted[:] = ["A", "the"]
    outcomes.correct[:] = [True, False]
    outcomes.p_gold[:] = [0.5, 0.2]
    outcomes.n_tokens[:] = [11, 12]
    return outcomes


def test_chosen_answers_are_as_wide_as_their_most_labels():
    turned = of_two_widths().take(np.array([1, 0]))
    assert turned.id.tolist() == ["China-1-0", "China-0-0"]
    assert turned.options == [("A", "B", "C", "D"), ("A", "B")]
    np.testing.assert_array_equal(
        turned.option_probabilities, [[0.1, 0.2, 0.3, 0.4], [0.5, 0.25, np.nan, np.nan]]
    )
    assert (turned.predicted.tolist(), turned.n_tokens.tolist()) == (["the", "A"], [12, 11])
    first = of_two_widths().take(np.array([0]))
    assert first.option_probabilities.tolist() == [[0.5, 0.25]]
    assert of_two_widths().take(np.array([], dtype=int)).option_probabilities.shape == (0, 0)


def test_parts_join_to_the_whole_in_the_order_of_their_items():
    whole = of_two_widths()
    parts = [(np.array([n]), whole.take(np.array([n]))) for n in (1, 0)]
    joined, put = Outcomes.joined(parts), Outcomes.empty(items(["China"], questions=2))
    for indices, answers in parts:
        put.put(indices, answers)
    for other in (joined, put):
        assert other.options == whole.options
        for name in ("id", "predicted", "correct", "p_gold", "option_probabilities", "n_tokens"):
            np.testing.assert_array_equal(getattr(other, name), getattr(whole, name))


def test_an_answer_on_a_scale_by_hand():
    """Steps a to e: from c at most two steps away, from a four."""
    scale = list("abcde")
    assert [alignment(scale, "c", answer) for answer in [*scale, None]] == [0, 50, 100, 50, 0, 0]
    assert [alignment(scale, "a", answer) for answer in [*scale, None]] == [100, 75, 50, 25, 0, 0]
    assert [alignment(scale, "d", answer) for answer in scale] == pytest.approx(
        [0, 100 / 3, 200 / 3, 100, 200 / 3]
    )


def test_any_right_label_counts_among_the_labels():
    item = replace(items(["China"], questions=1)[0], options=("A", "B", "C"), answer="A", also_right=("C",))
    outcomes = Outcomes.empty([item, item])
    outcomes.option_probabilities[:] = [[0.1, 0.2, 0.3], [0.1, 0.3, 0.2]]
    assert outcomes.option_correct.tolist() == [True, False]
    assert outcomes.chance.tolist() == pytest.approx([2 / 3, 2 / 3])


@pytest.mark.parametrize(
    ("shares", "probabilities", "expected"),
    [
        ([0.5, 0.5], [0.1, 0.1], 1.0),  # probabilities count relative to one another
        ([1, 0], [0.0, 0.3], 0.0),
        ([0.5, 0.5], [0.0, 0.0], 0.0),
        # by hand: middle (3/4, 1/4); JSD = (log2(4/3) + ½·log2(2/3) + ½·log2(2)) / 2 = 0.311278
        ([1, 0], [0.4, 0.4], 1 - 0.311278**0.5),
    ],
)
def test_similarity_is_one_minus_the_jensen_shannon_distance(shares, probabilities, expected):
    assert similarity(shares, np.array(probabilities)) == pytest.approx(expected, abs=1e-5)


def test_similarity_agrees_with_scipy():
    jensenshannon = pytest.importorskip("scipy.spatial.distance").jensenshannon
    for p, q in np.random.default_rng(1).dirichlet(np.ones(4), (20, 2)):
        assert similarity(p, q) == pytest.approx(1 - jensenshannon(p, q, base=2))


def test_items_together_are_right_only_if_all_of_them_are():
    asked = [replace(item, together=text) for item, text in zip(items(["China"], 5), "aabb ", strict=True)]
    asked[4] = replace(asked[4], together="")
    outcomes = answered(asked, [True, False, True, True, True])
    assert outcomes.all_correct.tolist() == [False, False, True, True, True]
    assert not outcomes.are_together
    assert outcomes.take(np.array([2, 3])).are_together
