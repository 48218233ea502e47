"""Everyday facts as written answers, and the token that tells them apart."""

from __future__ import annotations

from typing import Any

import pytest

from culnig.benchmarks.templates import read_questions
from culnig.core.data_files import own_data
from culnig.errors import InputError
from culnig.validation.real_items import labels_of, make_real_world
from culnig.validation.settings import RealSettings, RowsSettings
from culnig.validation.world import CONTROL, FACTS, NAMING


class Letters:
    """A tokenizer whose tokens are letters, and " so" where a text holds it."""

    def __call__(self, text: str, add_special_tokens: bool) -> dict[str, Any]:
        assert not add_special_tokens
        return {"input_ids": [1 if piece == "\0" else ord(piece) for piece in text.replace(" so", "\0")]}

    def decode(self, ids: list[int]) -> str:
        return "".join(" so" if token == 1 else chr(token) for token in ids)


def test_the_label_is_the_first_token_in_which_the_answers_differ():
    labels = labels_of({"Iran": "rice", "Spain": "tortilla", "UK": "toast"}, Letters())
    # t begins two different answers, so only rice has a token of its own; its options show both
    assert list(labels) == ["Iran"]
    assert labels["Iran"].prefix == "Answer: "
    assert (labels["Iran"].text, labels["Iran"].options) == ("r", ("r", "t"))
    assert labels["Iran"].written == tuple(map(ord, "rice"))


def test_tokens_that_all_answers_begin_with_belong_to_the_prompt():
    labels = labels_of({"Indonesia": "soto ayam", "West Java": "soto bandung"}, Letters())
    assert {culture: label.prefix for culture, label in labels.items()} == dict.fromkeys(
        ("Indonesia", "West Java"), "Answer: soto "
    )
    assert labels["West Java"].text == "b"


def test_cultures_with_the_same_answer_have_the_same_label():
    labels = labels_of({"Iran": "tea", "UK": "tea", "USA": "coffee"}, Letters())
    assert {culture: label.text for culture, label in labels.items()} == {"Iran": "t", "UK": "t", "USA": "c"}


@pytest.mark.parametrize(
    "answers",
    [{"Iran": "tea", "UK": "tea"}, {"Iran": "tea", "UK": "tea with milk"}, {"Iran": "tea"}],
    ids=["all alike", "one begins the other", "only one"],
)
def test_answers_that_no_token_tells_apart_have_no_labels(answers):
    assert labels_of(answers, Letters()) == {}


def test_the_world_asks_every_fact_in_two_wordings_and_says_what_it_left_out():
    settings = RealSettings(cultures=4, questions=6)
    world = make_real_world(settings, Letters())
    facts = world.benchmarks[FACTS].items
    assert len(facts) + world.n_left_out == 2 * 4 * 6
    gold = {template.id: template.answers for template in read_questions(own_data("everyday.toml")).templates}
    for item in facts:
        letters = "".join(" so" if token == 1 else chr(token) for token in world.written[item.id])
        assert (item.answer_prefix + letters).endswith(gold[item.question_id][item.culture][0])
        assert letters.startswith(item.answer)
    by_split = [
        {(i.question_id, i.culture) for i in facts if i.split == split} for split in ("identify", "test")
    ]
    assert by_split[0] == by_split[1]
    for fact, control in zip(facts, world.benchmarks[CONTROL].items, strict=True):
        assert (control.id, control.answer, control.prompt) == (fact.id, fact.answer, "Question:")
    passages = world.benchmarks[NAMING].items
    assert {item.culture for item in passages} == set(world.cultures)
    # Indonesia and Iran begin alike: they are told apart by their second letter
    prefixes = {item.culture: (item.answer_prefix, item.answer) for item in passages}
    assert prefixes["China"] == ("Answer: in ", "C")
    assert prefixes["Iran"] == ("Answer: in I", "r")


def test_impossible_sizes_are_refused():
    with pytest.raises(InputError, match="49 questions are too many; there are 48"):
        make_real_world(RealSettings(questions=49), Letters())
    with pytest.raises(InputError, match="cultures is 2; give at least 3"):
        RealSettings(cultures=2)
    with pytest.raises(InputError, match="neurons per culture is 0"):
        RowsSettings(neurons_per_culture=0)
