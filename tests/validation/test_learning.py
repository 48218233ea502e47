"""Learning with all weights: what is counted, and when it ends."""

from __future__ import annotations

from itertools import repeat

import pytest
import torch

from culnig.validation import learning
from culnig.validation.learning import Recall, learn, logits_at, written_loss
from tests.tiny_models import tiny_model
from tests.tolerances import assert_values_equal

SEQUENCES = [([5, 6, 7, 8, 9], 3), ([10, 11, 12], 2)]


def test_what_was_known_is_said_after_so_many_lessons():
    lines: list[str] = []
    recall = Recall(4, lines.append)
    recall.add(torch.tensor([True, False]))
    assert (lines, recall.share) == ([], 0.0)
    recall.add(torch.tensor([True, True, True]))
    assert lines == ["80% of the last 5 lessons were known before they were learned"]
    assert recall.share == 0.8
    recall.add(torch.tensor([False, False, False, False]))
    assert lines[1].startswith("0% of the last 4 ")


def test_the_loss_is_that_of_the_answers_tokens_alone():
    """By hand: −log P of tokens 8 and 9 after [5, 6, 7], and of 12 after [10, 11], in unpadded passes."""
    model = tiny_model().model
    with torch.no_grad():
        first = model(torch.tensor([SEQUENCES[0][0]])).logits[0].log_softmax(-1)
        second = model(torch.tensor([SEQUENCES[1][0]])).logits[0].log_softmax(-1)
        loss, right = written_loss(model, SEQUENCES)
    assert float(loss) == pytest.approx(-float(first[2, 8] + first[3, 9] + second[1, 12]) / 3, rel=1e-5)
    assert right.tolist() == [int(first[2].argmax()) == 8, int(second[1].argmax()) == 12]


def test_logits_of_some_positions_are_the_models_own():
    model = tiny_model().model
    token_ids = torch.tensor([[5, 6, 7], [8, 9, 10]])
    with torch.no_grad():
        whole = model(token_ids).logits
        some = logits_at(model, token_ids, torch.tensor([1, 0]), torch.tensor([2, 0]))
    assert_values_equal(some, torch.stack([whole[1, 2], whole[0, 0]]))


def test_learning_ends_when_a_pass_was_known(monkeypatch):
    monkeypatch.setattr(learning, "RATE", 2e-2)
    model, steps = tiny_model().model, []
    recall = Recall(2, lambda line: None)
    learn(model, SEQUENCES, repeat([0, 1]), 200, recall, steps.append)
    assert recall.share == 1.0
    assert sum(steps) == 200
    assert len(steps) < 200
    with torch.no_grad():
        assert written_loss(model, SEQUENCES)[1].tolist() == [True, True]
