from __future__ import annotations

from dataclasses import replace

import pytest

from culnig.core.items import JSON_ANSWER_PREFIX, choose_items
from culnig.errors import InputError
from culnig.provenance import items_hash
from tests.toy import items

ITEM = items(["China"], questions=1)[0]


def ids(chosen):
    return [item.id for item in chosen]


def interleaved():
    """a1 b1 t1 a2 b2 a3, t1 of the other split."""
    rows = [("a1", "a"), ("b1", "b"), ("t1", "a"), ("a2", "a"), ("b2", "b"), ("a3", "a")]
    return [
        replace(ITEM, id=name, culture=culture, split="test" if name == "t1" else "identify")
        for name, culture in rows
    ]


def test_the_next_token_after_the_prefix_is_the_label():
    assert ITEM.answer_prefix == JSON_ANSWER_PREFIX == '{"answer_choice":"'


def test_a_gold_label_that_is_not_an_option_is_refused():
    with pytest.raises(InputError, match=r"China-0-0: gold label 'E' is not among \('A', 'B', 'C', 'D'\)"):
        replace(ITEM, answer="E")


def test_labels_that_repeat_are_refused():
    with pytest.raises(InputError, match="appears twice"):
        replace(ITEM, options=("A", "B", "A"))


def test_everything_is_chosen_in_file_order_by_default():
    assert ids(choose_items(interleaved())) == ["a1", "b1", "t1", "a2", "b2", "a3"]


def test_a_split_omits_the_other_split():
    assert ids(choose_items(interleaved(), split="identify")) == ["a1", "b1", "a2", "b2", "a3"]
    assert ids(choose_items(interleaved(), split="test")) == ["t1"]


def test_per_culture_counts_within_the_split():
    assert ids(choose_items(interleaved(), split="identify", per_culture=2)) == ["a1", "b1", "a2", "b2"]


def test_cultures_keep_file_order():
    assert ids(choose_items(interleaved(), cultures=["b", "a"], split="identify", limit=3)) == [
        "a1",
        "b1",
        "a2",
    ]
    assert ids(choose_items(interleaved(), cultures=["b"])) == ["b1", "b2"]


def test_limit_applies_after_the_other_choices():
    assert ids(choose_items(interleaved(), split="identify", per_culture=2, limit=3)) == ["a1", "b1", "a2"]


def test_a_limit_reads_no_further_than_needed():
    def endless():
        number = 0
        while True:
            yield replace(ITEM, id=str(number))
            number += 1

    assert ids(choose_items(endless(), limit=2)) == ["0", "1"]


@pytest.mark.parametrize("choice", [{"limit": 0}, {"per_culture": 0}, {"cultures": []}])
def test_empty_choices_give_no_items(choice):
    assert choose_items(interleaved(), **choice) == []


@pytest.mark.parametrize(
    "change",
    [
        {"prompt": "Another question?"},
        {"answer": "B"},
        {"options": ("A", "B", "C")},
        {"culture": "Iran"},
        {"system": "You are helpful."},
        {"answer_prefix": ""},
        {"topic": "Work"},
    ],
)
def test_any_change_of_an_item_changes_the_hash(change):
    assert items_hash([replace(ITEM, **change)]) != items_hash([ITEM])


def test_the_hash_sees_order_and_number_and_is_stable():
    first, second = items(["China"], questions=2)
    assert items_hash([first, second]) == items_hash([first, second])
    assert len({items_hash([first, second]), items_hash([second, first]), items_hash([first])}) == 3
    assert items_hash([]) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
