"""Facts and items of the made-up world."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from culnig.inference.encoding import Encoder
from culnig.validation.decoder import build_decoder
from culnig.validation.settings import PlantedSettings
from culnig.validation.world import ANSWERS, CONTROL, FACTS, GENERAL_FACTS, NAMING, make_world

SETTINGS = PlantedSettings(seed=3, cultures=5, questions=6)


@pytest.fixture(scope="module")
def world():
    return make_world(SETTINGS)


def test_no_culture_answers_what_people_in_general_answer(world):
    assert world.culture_answers.shape == (5, 6)
    assert (world.culture_answers != world.general_answers).all()


def test_roles_and_sizes(world):
    roles = {name: those.role for name, those in world.benchmarks.items()}
    assert roles == {FACTS: "target", CONTROL: "control", NAMING: "exclusion", GENERAL_FACTS: "target"}
    assert {name: len(those.items) for name, those in world.benchmarks.items()} == {
        FACTS: 5 * 6 * 2,
        CONTROL: 5 * 6 * 2,
        NAMING: 5 * 6 * 2,
        GENERAL_FACTS: 6 * 2,
    }


def test_items_ask_for_the_facts(world):
    for item in world.benchmarks[FACTS].items:
        culture, question = world.cultures.index(item.culture), world.questions.index(item.question_id)
        assert item.answer == ANSWERS[world.culture_answers[culture, question]]
        assert item.question_id in item.prompt.split()
        assert item.culture.replace(" ", "-") in item.prompt.split()


def test_controls_keep_the_gold_answer_and_lose_culture_and_question(world):
    for fact, control in zip(world.benchmarks[FACTS].items, world.benchmarks[CONTROL].items, strict=True):
        assert (control.id, control.answer, control.options) == (fact.id, fact.answer, fact.options)
        assert control.prompt == {"identify": "in ?", "test": "of ?"}[fact.split]


def test_passages_name_only_their_culture(world):
    names = {culture.replace(" ", "-") for culture in world.cultures}
    for item in world.benchmarks[NAMING].items:
        assert names & set(item.prompt.split()) == {item.answer}
        assert item.answer == item.culture.replace(" ", "-")


def test_a_split_is_one_wording(world):
    chosen = world.chosen("test")[FACTS]
    assert chosen.split == "test"
    assert Counter(item.split for item in chosen.items) == {"test": 30}
    assert {item.prompt.split()[1] for item in chosen.items} == {"of"}


def test_seeds_make_worlds():
    first, again = make_world(SETTINGS), make_world(SETTINGS)
    other = make_world(PlantedSettings(seed=4, cultures=5, questions=6))
    assert first.benchmarks == again.benchmarks
    assert not np.array_equal(first.culture_answers, other.culture_answers)


def test_every_word_is_one_vocabulary_entry(world):
    bound = build_decoder(PlantedSettings(seed=3, cultures=5, questions=6, mlp_width=64), world.words)
    entries = bound.tokenizer.get_vocab()
    encoder = Encoder(bound)
    for those in world.benchmarks.values():
        for encoded in encoder.encode_all(those.items):
            words = [*encoded.item.prompt.split(), "answer:"]
            assert list(encoded.token_ids) == [entries[word] for word in words]
            assert encoded.gold_id == entries[encoded.item.answer]
