"""Running out of memory at any point of a batch changes nothing but the time."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from culnig.errors import EnvironmentProblem
from culnig.inference.answers import AnswerReader
from culnig.scoring.accumulator import Accumulator
from culnig.scoring.scoring import ScoreSettings, score_benchmark
from tests.tiny_models import tiny_items, tiny_model
from tests.tolerances import assert_positive_counts_equal, assert_probabilities_equal, assert_scores_equal

SETTINGS = ScoreSettings(token_budget=700)
N_ITEMS = 9

OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    MemoryError(),
]


class Allocation:
    """Stands in for the allocator: batches above so many tokens fail, or the calls of certain numbers."""

    def __init__(self, error=OUT_OF_MEMORY[0], *, above=None, calls=()):
        self.error, self.above, self.calls = error, above, calls
        self.count = self.failures = 0

    def __call__(self, batch):
        self.count += 1
        if self.count in self.calls or (self.above is not None and batch.n_tokens > self.above):
            self.failures += 1
            raise self.error


@pytest.fixture
def in_backward(monkeypatch):
    """Let an allocation happen before each module's kernel, in the middle of the backward pass."""

    def install(allocate):
        add = Accumulator.add

        def allocating(self, segment, activation, gradient):
            allocate(self._batch)
            add(self, segment, activation, gradient)

        monkeypatch.setattr(Accumulator, "add", allocating)
        return allocate

    return install


@pytest.fixture
def in_forward(monkeypatch):
    def install(allocate):
        logits = AnswerReader.logits

        def allocating(self, batch):
            allocate(batch)
            return logits(self, batch)

        monkeypatch.setattr(AnswerReader, "logits", allocating)
        return allocate

    return install


def score(**options):
    return score_benchmark(tiny_model(), tiny_items(N_ITEMS), "target", SETTINGS, **options)


def assert_same(found, expected):
    """Every item once in every sum; scores equal but for the float noise of other batch sizes."""
    moments, other = found.moments, expected.moments
    np.testing.assert_array_equal(moments.n_items, other.n_items)
    assert_positive_counts_equal(moments.positive_count, other.positive_count)
    assert_probabilities_equal(moments.p_gold_sum, other.p_gold_sum)
    assert_scores_equal(moments.sum, other.sum)
    assert_scores_equal(moments.sum_of_squares, other.sum_of_squares, power=2)
    assert list(found.outcomes.predicted) == list(expected.outcomes.predicted)
    assert_probabilities_equal(found.outcomes.p_gold, expected.outcomes.p_gold)
    assert found.batches_done == expected.batches_done


@pytest.mark.parametrize("call", [1, 2, 8, 15])
def test_memory_that_runs_out_once_in_a_backward_pass_changes_nothing(in_backward, call):
    expected = score()
    assert expected.batches_done > 1
    allocation = in_backward(Allocation(calls=[call]))
    assert_same(score(), expected)
    assert allocation.failures == 1


def test_memory_that_runs_out_again_in_a_half_changes_nothing(in_backward):
    expected = score()
    allocation = in_backward(Allocation(calls=[7, 12, 20]))
    assert_same(score(), expected)
    assert allocation.failures == 3


@pytest.mark.parametrize("place", ["in_forward", "in_backward"])
@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=lambda error: type(error).__name__)
def test_any_out_of_memory_error_anywhere_changes_nothing(request, place, error):
    expected = score()
    allocation = request.getfixturevalue(place)(Allocation(error, above=300))
    assert_same(score(), expected)
    assert allocation.failures >= 1


def test_later_batches_of_a_size_that_did_not_fit_are_halved_at_once(in_forward):
    allocation = in_forward(Allocation(above=350))
    found = score_benchmark(tiny_model(), tiny_items(24), "target", SETTINGS)
    assert found.moments.n_items.sum() == 24
    assert found.batches_done > 3
    assert allocation.failures <= 2


def test_a_single_item_that_does_not_fit_is_named_with_what_to_do(in_forward):
    in_forward(Allocation(above=0))
    with pytest.raises(
        EnvironmentProblem, match=r"single item item-\d of \d+ tokens.*gradient_checkpointing=True"
    ):
        score()


def test_other_errors_are_not_taken_for_out_of_memory(in_backward):
    in_backward(Allocation(RuntimeError("mat1 and mat2 shapes cannot be multiplied"), calls=[3]))
    with pytest.raises(RuntimeError, match="shapes"):
        score()
