"""Batches that do not fit are halved, and the item that does not fit alone is named."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch

from culnig.core.outcomes import Outcomes
from culnig.errors import EnvironmentProblem
from culnig.inference.answers import AnswerReader
from culnig.inference.batches import make_batches
from culnig.inference.encoding import Encoder
from culnig.inference.fitting import Fallback, is_out_of_memory
from tests.tiny_models import tiny_items, tiny_model


@dataclass
class Letters:
    """A batch of letters, each of one token."""

    item_ids: str

    @property
    def n_tokens(self):
        return len(self.item_ids)

    def halves(self):
        middle = (len(self.item_ids) + 1) // 2
        return Letters(self.item_ids[:middle]), Letters(self.item_ids[middle:])


class Memory:
    """Runs batches of at most so many letters; a larger batch stops in its middle."""

    def __init__(self, limit):
        self.limit, self.tried, self.done = limit, [], ""

    def run(self, batch, suffix=""):
        self.tried.append(batch.item_ids)
        if batch.n_tokens > self.limit:
            raise torch.OutOfMemoryError("CUDA out of memory")
        self.done += batch.item_ids + suffix


def test_halves_of_halves_are_run_in_order_until_they_fit():
    memory = Memory(2)
    Fallback(memory.run).run(Letters("abcdefg"))
    assert memory.tried == ["abcdefg", "abcd", "ab", "cd", "efg", "ef", "g"]
    assert memory.done == "abcdefg"


def test_a_size_that_did_not_fit_is_not_tried_again():
    memory = Memory(3)
    fallback = Fallback(memory.run)
    for letters in ("abcdef", "ghijkl", "mnop"):
        fallback.run(Letters(letters))
    assert memory.tried == ["abcdef", "abc", "def", "ghi", "jkl", "mnop", "mn", "op"]


def test_further_arguments_go_to_every_half():
    memory = Memory(1)
    Fallback(memory.run).run(Letters("ab"), suffix=",")
    assert memory.done == "a,b,"


@pytest.mark.parametrize(
    ("can_checkpoint", "advice"), [(True, "add gradient_checkpointing=True, load"), (False, "load")]
)
def test_the_item_that_does_not_fit_alone_is_named_with_advice(can_checkpoint, advice):
    memory = Memory(0)
    with pytest.raises(EnvironmentProblem) as raised:
        Fallback(memory.run, can_checkpoint=can_checkpoint).run(Letters("ab"))
    assert str(raised.value).startswith(f"out of memory with the single item a of 1 tokens; {advice}")
    assert "--dtype bfloat16 or --quantize 4bit" in raised.value.for_command_line()


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError(
            "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"
        ),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes"),
        MemoryError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_every_allocator_is_understood(error):
    assert is_out_of_memory(error)


def test_other_errors_are_raised():
    def fail(batch):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="shapes"):
        Fallback(fail).run(Letters("ab"))


def test_a_reader_answers_in_halves_what_does_not_fit(monkeypatch):
    bound, items = tiny_model(), tiny_items(6)
    batches = make_batches(Encoder(bound).encode_all(items))
    logits, failures = AnswerReader.logits, []

    def fits_two(self, batch):
        if len(batch.items) > 2:
            failures.append(batch)
            raise MemoryError
        return logits(self, batch)

    expected, outcomes = Outcomes.empty(items), Outcomes.empty(items)
    with AnswerReader(bound) as reader:
        reader.answer_all(batches, expected)
        monkeypatch.setattr(AnswerReader, "logits", fits_two)
        reader.answer_all(batches, outcomes)
    assert failures
    assert outcomes.p_gold.tolist() == pytest.approx(expected.p_gold.tolist(), rel=1e-5)
