"""Which option is chosen by log-probabilities, and its share, by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon

from culnig.core.items import Item
from culnig.core.likelihood import compared, settle, shares
from culnig.core.outcomes import Outcomes
from culnig.errors import InputError

LONG, SHORT = "a cup of tea", "é"
"""Of 12 bytes, and of one character in 2 bytes."""

ITEM = Item(
    id="i",
    question_id="q",
    culture="Spain",
    split="test",
    prompt="What is drunk?",
    options=(LONG, SHORT),
    answer=LONG,
    answer_prefix=" ",
    likelihood="none",
)


def settled(item: Item, logs: list[float]) -> Outcomes:
    outcomes = Outcomes.empty([item])
    outcomes.log_probabilities[0] = logs
    settle({0: item}, outcomes)
    return outcomes


def test_a_sum_favours_the_short_option_and_a_mean_over_bytes_does_not():
    logs = [math.log(0.02), math.log(0.08)]
    by_sum = settled(ITEM, logs)
    assert (by_sum.predicted[0], bool(by_sum.correct[0])) == (SHORT, False)
    np.testing.assert_allclose(by_sum.option_probabilities, [[0.2, 0.8]])
    assert by_sum.p_gold[0] == pytest.approx(0.2)
    by_byte = settled(replace(ITEM, likelihood="bytes"), logs)
    assert (by_byte.predicted[0], bool(by_byte.correct[0])) == (LONG, True)
    per_byte = [logs[0] / 12 * 7, logs[1] / 2 * 7]  # at the mean length of 7 bytes
    powers = [math.exp(value) for value in per_byte]
    assert by_byte.p_gold[0] == pytest.approx(powers[0] / sum(powers))
    for outcomes in (by_sum, by_byte):
        assert outcomes.gold_log_probability.tolist() == [logs[0]]
        assert outcomes.gold_bytes.tolist() == [12]


def test_options_of_one_length_have_the_same_shares_with_either():
    logs = np.array([-40.0, -41.0, -43.5])
    texts = ["rice", "bean", "maïz"[:3]]  # four bytes each
    assert {len(text.encode()) for text in texts} == {4}
    np.testing.assert_allclose(compared(logs, texts, "bytes"), compared(logs, texts, "none"))


def test_shares_of_texts_that_are_never_written_do_not_underflow():
    np.testing.assert_allclose(shares(np.array([-4000.0, -4000.0 - math.log(3)])), [0.75, 0.25])


def test_scales_distributions_and_several_right_options_are_read_from_the_shares():
    options = ("never", "seldom", "often")
    item = replace(
        ITEM,
        options=options,
        answer="often",
        also_right=("seldom",),
        ordinal=True,
        distribution=(0.2, 0.4, 0.4),
    )
    outcomes = settled(item, [math.log(0.1), math.log(0.2), math.log(0.1)])
    assert bool(outcomes.correct[0])
    assert outcomes.alignment[0] == 50.0, "one of the two steps away"
    distance = jensenshannon([0.2, 0.4, 0.4], [0.25, 0.5, 0.25], 2)
    assert outcomes.similarity[0] == pytest.approx(1 - distance)
    exact = settled(item, [math.log(0.02), math.log(0.04), math.log(0.04)])
    assert exact.similarity[0] == pytest.approx(1.0)


def test_outcomes_keep_log_probabilities_through_take_put_and_join():
    items = [ITEM, replace(ITEM, id="j", options=(LONG, SHORT, "milk"))]
    outcomes = Outcomes.empty(items)
    outcomes.log_probabilities[:] = [[-1, -2, np.nan], [-3, -4, -5]]
    first, second = (outcomes.take(np.array([index])) for index in (0, 1))
    assert first.log_probabilities.tolist() == [[-1, -2]]
    joined = Outcomes.joined([(np.array([1]), second), (np.array([0]), first)])
    np.testing.assert_array_equal(joined.log_probabilities, outcomes.log_probabilities)
    half = Outcomes.empty(items)
    half.log_probabilities[1] = [np.nan, -4.5, np.nan]  # another process has read one option
    outcomes.put(np.array([0, 1]), half)
    np.testing.assert_array_equal(outcomes.log_probabilities, [[-1, -2, np.nan], [-3, -4.5, -5]])


def test_labels_and_texts_do_not_go_into_one_table():
    label = replace(ITEM, likelihood=None)
    assert Outcomes.empty([label]).log_probabilities.shape == (1, 0)
    with pytest.raises(InputError, match="some of the items have labels as options and some have texts"):
        Outcomes.empty([ITEM, label])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"likelihood": "words"}, "unknown likelihood 'words'; choose from none, bytes"),
        ({"options": (LONG, "\t"), "answer": LONG}, "must not be empty or hold a tab"),
        ({"options": (LONG, " "), "answer": LONG}, "must not be empty or hold a tab"),
    ],
)
def test_what_cannot_be_read_as_text_is_refused(changes, said):
    with pytest.raises(InputError, match=said):
        replace(ITEM, **changes)
