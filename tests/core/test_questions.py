from __future__ import annotations

from culnig.core.questions import linked_questions


def test_questions_of_the_same_cultures_are_one_group():
    asked = [(culture, question) for question in ("a", "b") for culture in ("x", "y")]
    assert linked_questions(asked) == [["a", "b"]]


def test_questions_of_single_cultures_are_grouped_by_culture():
    assert linked_questions([("x", "a"), ("y", "b"), ("x", "c")]) == [["a", "c"], ["b"]]


def test_a_chain_of_shared_cultures_is_one_group():
    asked = [("x", "a"), ("y", "a"), ("w", "e"), ("y", "b"), ("z", "b"), ("z", "c")]
    assert linked_questions(asked) == [["a", "b", "c"], ["e"]]


def test_no_questions_are_no_groups():
    assert linked_questions([]) == []
