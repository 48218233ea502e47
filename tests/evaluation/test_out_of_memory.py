"""Running out of memory while evaluating changes nothing but the time."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from culnig.errors import EnvironmentProblem
from culnig.evaluation.masks import Replacements
from culnig.evaluation.runner import run_conditions
from culnig.inference.answers import AnswerReader
from culnig.inference.generation import AnswerWriter
from tests.evaluation.test_masks import conditions_of as masked
from tests.evaluation.test_masks import prompts_of
from tests.evaluation.test_runner import asked, conditions_of, same
from tests.tiny_models import tiny_items, tiny_model

OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
]


class Allocation:
    """Stands in for the allocator: batches above so many tokens fail."""

    def __init__(self, above, error=OUT_OF_MEMORY[0]):
        self.above, self.error = above, error
        self.tried = []

    def __call__(self, batch):
        self.tried.append(batch.n_tokens)
        if batch.n_tokens > self.above:
            raise self.error

    @property
    def failures(self):
        return sum(n > self.above for n in self.tried)


@pytest.fixture
def allocate(monkeypatch):
    """Let every forward pass of an evaluation ask for memory first."""

    def install(allocation):
        for kind, name in ((AnswerReader, "logits"), (AnswerWriter, "write")):
            whole = getattr(kind, name)
            monkeypatch.setattr(
                kind, name, lambda self, batch, whole=whole: (allocation(batch), whole(self, batch))[1]
            )
        return allocation

    return install


def evaluated(items, **options):
    bound = tiny_model()
    return run_conditions(bound, {"a": items}, conditions_of(bound), **options)


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("sharing", [True, False])
def test_batches_are_halved_until_they_fit(allocate, sharing, error):
    expected = evaluated(asked(), prefix_sharing=sharing)
    advanced = []
    allocation = allocate(Allocation(250, error))
    found = evaluated(
        asked(),
        prefix_sharing=sharing,
        after_batch=lambda name, condition, n_items: advanced.append((condition, n_items)),
    )
    same(found, expected)
    assert allocation.failures > 0
    for condition in ("unmasked", "general"):
        assert sum(n for name, n in advanced if name == condition) == len(asked())


def test_sizes_that_did_not_fit_are_not_tried_again(allocate):
    allocation = allocate(Allocation(250))
    evaluated(asked(), prefix_sharing=False)
    assert len({n for n in allocation.tried if n > 250}) == allocation.failures <= 4


def test_a_resampled_item_keeps_its_values_in_a_half(allocate):
    bound = tiny_model()
    conditions = masked(bound, "resample")
    replacements = Replacements.of(bound, prompts_of(bound), conditions)

    def run():
        return run_conditions(bound, {"a": asked()}, conditions, replacements=replacements)

    expected = run()
    allocation = allocate(Allocation(250))
    same(run(), expected)
    assert allocation.failures > 0


def test_written_answers_are_halved_too(allocate):
    short = [replace(item, options=(), answer="x", accepted=("x",), language="en") for item in tiny_items(5)]
    expected = evaluated(short, max_new_tokens=4)
    allocation = allocate(Allocation(250))
    found = evaluated(short, max_new_tokens=4)
    assert allocation.failures > 0
    for key, outcomes in expected.items():
        assert outcomes.predicted.tolist() == found[key].predicted.tolist()


def test_a_single_item_that_does_not_fit_ends_with_what_to_do(allocate):
    allocate(Allocation(0))
    with pytest.raises(
        EnvironmentProblem, match=r"single item item-\S+ of \d+ tokens; load the model with dtype='bfloat16'"
    ):
        evaluated(asked(), prefix_sharing=False)


def test_other_errors_are_not_taken_for_out_of_memory(allocate):
    allocate(Allocation(0, RuntimeError("mat1 and mat2 shapes cannot be multiplied")))
    with pytest.raises(RuntimeError, match="shapes"):
        evaluated(asked(), prefix_sharing=False)
