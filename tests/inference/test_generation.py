"""Short answers: written in batches, judged, recorded."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from culnig.core.items import Item
from culnig.core.outcomes import Outcomes, alignment
from culnig.errors import InputError
from culnig.evaluation.conditions import Condition
from culnig.evaluation.results import result_rows
from culnig.evaluation.runner import run_conditions
from culnig.inference.answers import AnswerReader
from culnig.inference.batches import make_batches
from culnig.inference.encoding import Encoder
from culnig.inference.generation import AnswerWriter
from tests.tiny_models import tiny_items, tiny_model


def short_items(n: int = 5) -> list[Item]:
    return [
        Item(
            f"s{k}",
            f"s{k}",
            "UK",
            "test",
            "Why? " * (k + 1),
            (),
            "tea",
            answer_prefix="",
            accepted=("tea",),
            language="en",
        )
        for k in range(n)
    ]


@pytest.fixture(scope="module")
def bound():
    return tiny_model("llama")


def written(bound, items, budget):
    writer = AnswerWriter(bound, lambda item, text: True, max_new_tokens=6)
    texts = {}
    for batch in writer.batches(Encoder(bound).encode_answerable(items), budget):
        texts.update(zip(batch.numbers, writer.write(batch), strict=True))
    return [texts[number] for number in range(len(items))]


def test_an_answer_does_not_depend_on_its_batch_mates(bound):
    items = short_items()
    assert written(bound, items, budget=1) == written(bound, items, budget=10_000)


def test_an_answer_is_what_greedy_steps_give(bound):
    (item,) = short_items(1)
    ids = list(Encoder(bound).prompt_ids(item))
    start = len(ids)
    with torch.inference_mode():
        while len(ids) < start + 6:
            ids.append(int(bound.model(torch.tensor([ids])).logits[0, -1].argmax()))
            if ids[-1] == bound.model.generation_config.eos_token_id:
                break
    expected = bound.tokenizer.decode(ids[start:], skip_special_tokens=True).strip()
    assert written(bound, [item], budget=100) == [expected]


def test_batches_leave_room_for_the_answers(bound):
    items = short_items()
    writer = AnswerWriter(bound, lambda item, text: True, max_new_tokens=50)
    for batch in writer.batches(Encoder(bound).encode_answerable(items), token_budget=400):
        longest = max(map(len, batch.token_ids))
        assert len(batch.items) == 1 or len(batch.items) * (longest + 50) <= 400


def test_generation_inside_a_reader_sees_the_whole_head(bound):
    items = short_items(3)
    alone = written(bound, items, budget=1000)
    with AnswerReader(bound) as reader:
        labelled = tiny_items(2)
        batch = make_batches(Encoder(bound).encode_all(labelled))[0]
        reader.answer(batch, Outcomes.empty(labelled))
        assert written(bound, items, budget=1000) == alone


def test_labels_and_short_answers_share_a_run(bound):
    short, labelled = short_items(3), tiny_items(4)
    condition = Condition("unmasked", 1.0, np.empty(0, dtype=np.int64))
    answers = run_conditions(bound, {"a": short, "b": labelled}, [condition], max_new_tokens=4)
    rows = {row["benchmark"]: row for row in result_rows(answers, ["a", "b"], [condition])}
    none = [name for name, value in rows["a"].items() if value is None]
    assert {"option_accuracy", "p_gold", "option_mass", "alignment", "chance"} <= set(none)
    assert rows["a"]["accuracy"] == 0.0
    assert rows["b"]["alignment"] is None
    assert rows["b"]["p_gold"] > 0


def test_a_short_answer_cannot_be_encoded_as_a_label(bound):
    with pytest.raises(InputError, match=r"answered in free text.* can be evaluated but not scored"):
        Encoder(bound).encode(short_items(1)[0])


@pytest.mark.parametrize(
    "change",
    [{"options": ("A",)}, {"answer": "milk"}, {"language": ""}],
)
def test_a_short_answer_that_contradicts_itself_is_refused(change):
    fields = {"options": (), "answer": "tea", "accepted": ("tea",), "language": "en", **change}
    with pytest.raises(InputError, match="item x: an item with `accepted` answers must have no options"):
        Item("x", "x", "UK", "test", "?", **fields)


@pytest.mark.parametrize(
    ("gold", "answered", "expected"),
    [
        ("1", "1", 100.0),
        ("1", "4", 0.0),
        ("2", "4", 0.0),
        ("2", "3", 50.0),
        ("2", "1", 50.0),
        ("3", None, 0.0),
    ],
)
def test_alignment_by_hand(gold, answered, expected):
    assert alignment(("1", "2", "3", "4"), gold, answered) == pytest.approx(expected)


def test_alignment_goes_by_position_so_letters_work_too():
    assert alignment(tuple("ABCDEFGHIJ"), "C", "J") == pytest.approx(0.0)
    assert alignment(tuple("ABCDEFGHIJ"), "C", "A") == pytest.approx(100 * (1 - 2 / 7))


def test_ordinal_items_have_an_alignment(bound):
    from dataclasses import replace

    items = [replace(item, ordinal=True) for item in tiny_items(4)]
    condition = Condition("unmasked", 1.0, np.empty(0, dtype=np.int64))
    answers = run_conditions(bound, {"b": items}, [condition])
    outcomes = answers["b", "unmasked"]
    assert outcomes.is_ordinal
    assert np.all((outcomes.alignment >= 0) & (outcomes.alignment <= 100))
    assert np.all(outcomes.alignment[outcomes.correct] == 100)
    (row,) = result_rows(answers, ["b"], [condition])
    assert row["alignment"] == pytest.approx(outcomes.alignment.mean())
