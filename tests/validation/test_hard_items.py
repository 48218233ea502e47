"""Items of the hard world."""

from __future__ import annotations

import numpy as np
import pytest

from culnig.validation.hard_items import HINTS, LEAD, LEAD_WORDS, LETTERS, LEVELS, make_hard_world
from culnig.validation.world import CONTROL, FACTS, GENERAL_FACTS, NAMING
from culnig.validation.worlds import WORLDS

SETTINGS = WORLDS["hard"].settings


@pytest.fixture(scope="module")
def world():
    return make_hard_world(SETTINGS)


def test_every_prompt_has_fifty_tokens_and_only_known_words(world):
    for chosen in world.benchmarks.values():
        for item in chosen.items:
            words = [*item.prompt.split(), item.answer_prefix.strip()]
            assert 50 <= len(words) <= 64
            assert {*words, *item.options} <= set(world.words)


def test_letters_are_the_answers_and_the_options_show_them(world):
    for item in world.benchmarks[FACTS].items:
        assert item.options == LETTERS
        words = item.prompt.split()
        assert [word for word in words if word in LETTERS] == list(LETTERS)
        assert item.culture.replace(" ", "-") in words


def test_half_of_the_questions_give_their_letter_away_in_the_control_too(world):
    facts, control = world.benchmarks[FACTS].items, world.benchmarks[CONTROL].items
    for fact, without in zip(facts, control, strict=True):
        hints = [word for word in fact.prompt.split() if word in HINTS]
        assert hints == ([f"hint-{fact.answer}"] if world.question_of(fact) % 2 else [])
        assert [word for word in without.prompt.split() if word in HINTS] == hints
        assert fact.question_id not in without.prompt
        assert fact.culture.replace(" ", "-") not in without.prompt.split()
        assert (without.id, without.answer) == (fact.id, fact.answer)
    assert not any(world.is_hinted(item) for item in world.benchmarks[GENERAL_FACTS].items)


def test_related_cultures_share_half_of_their_answers(world):
    letters = {(item.culture, item.question_id): item.answer for item in world.benchmarks[FACTS].items}
    cultures = world.cultures
    for number in range(SETTINGS.questions):
        question = f"question-{number}"
        general = LETTERS[world.general[number]]
        assert all(letters[culture, question] != general for culture in cultures)
        if number % 4 < 2:
            assert letters[cultures[0], question] == letters[cultures[1], question]
    different = [letters[cultures[0], q] != letters[cultures[1], q] for q in {q for _, q in letters}]
    assert any(different)


def test_facts_are_taught_from_chance_to_near_certainty(world):
    counts = [int((world.level == level).sum()) for level in LEVELS]
    assert min(counts) >= max(counts) - 6
    assert LEVELS[0] == 1 / len(LETTERS)
    taught = [item for item in world.benchmarks[FACTS].items if item.id in world.taught]
    assert not any(world.is_hinted(item) for item in taught)
    # every other question has no hint, and three of four levels are above a half
    assert len(taught) == len(world.benchmarks[FACTS].items) * 3 // 8


def test_passages_name_one_culture(world):
    names = {culture.replace(" ", "-") for culture in world.cultures}
    for item in world.benchmarks[NAMING].items:
        assert names & set(item.prompt.split()) == {item.answer}


def test_every_prompt_begins_with_words_that_are_nowhere_else(world):
    for chosen in world.benchmarks.values():
        for item in chosen.items:
            words = item.prompt.split()
            assert set(words[:LEAD]) <= set(LEAD_WORDS)
            assert not set(words[LEAD:]) & set(LEAD_WORDS)


def test_a_question_may_ask_for_the_name_of_its_culture(world):
    item = world.benchmarks[FACTS].items[-1]
    asked = world.asked_name(item)
    assert asked.prompt == f"{item.prompt} which"
    assert asked.answer == world.cultures[-1]
    assert asked.options == tuple(culture.replace(" ", "-") for culture in world.cultures)


def test_seeds_make_worlds(world):
    assert make_hard_world(SETTINGS).benchmarks == world.benchmarks
    other = make_hard_world(WORLDS["hard"].sized(seed=1))
    assert not np.array_equal(other.general, world.general)
