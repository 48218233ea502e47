"""Capture changes nothing, keeps nothing, and undoes itself."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch

from culnig.inference.answers import AnswerReader, gold_probabilities
from culnig.inference.batches import make_batches
from culnig.inference.encoding import Encoder
from culnig.scoring.capture import Capture
from tests.tiny_models import tiny_items, tiny_model


def one_batch(bound, n=3):
    (batch,) = make_batches(Encoder(bound).encode_all(tiny_items(n)), 4096)
    return batch


def test_logits_are_those_of_the_bare_model():
    bound = tiny_model()
    batch = one_batch(bound)
    with AnswerReader(bound) as reader:
        bare = reader.logits(batch).detach()
        with Capture(bound, lambda segment, activation, gradient: None):
            captured = reader.logits(batch).detach()
    assert torch.equal(bare, captured)


def test_every_segment_is_handed_over_once_in_the_backward_pass():
    bound = tiny_model("phi3")
    batch = one_batch(bound)
    seen = []
    with (
        AnswerReader(bound) as reader,
        Capture(bound, lambda segment, activation, gradient: seen.append((segment, activation.shape))),
    ):
        p_gold = gold_probabilities(batch, reader.logits(batch).softmax(-1))
        assert seen == []
        p_gold.sum().backward()
    assert sorted(segment.start for segment, _ in seen) == [s.start for s in bound.layout.segments]
    assert all(shape == (*batch.token_mask.shape, segment.width) for segment, shape in seen)


def test_no_activation_outlives_the_backward_pass():
    bound = tiny_model()
    batch = one_batch(bound)
    alive = []
    gc.disable()  # a reference cycle would be a leak: nothing may need the collector
    try:
        with (
            AnswerReader(bound) as reader,
            Capture(bound, lambda segment, activation, gradient: alive.append(weakref.ref(activation))),
        ):
            p_gold = gold_probabilities(batch, reader.logits(batch).softmax(-1))
            p_gold.sum().backward()
            del p_gold
            assert len(alive) == len(bound.layout.segments)
            assert [reference() for reference in alive] == [None] * len(alive)
    finally:
        gc.enable()


def test_no_parameter_gets_a_gradient_and_flags_come_back():
    bound = tiny_model()
    bound.model.lm_head.weight.requires_grad_(False)
    before = {name: p.requires_grad for name, p in bound.model.named_parameters()}
    batch = one_batch(bound)
    with AnswerReader(bound) as reader, Capture(bound, lambda *pair: None):
        gold_probabilities(batch, reader.logits(batch).softmax(-1)).sum().backward()
    assert all(parameter.grad is None for parameter in bound.model.parameters())
    assert {name: p.requires_grad for name, p in bound.model.named_parameters()} == before


def test_hooks_are_gone_after_an_exception():
    bound = tiny_model()
    with pytest.raises(ZeroDivisionError), AnswerReader(bound), Capture(bound, lambda *pair: None):
        raise ZeroDivisionError
    assert all(
        not module._forward_hooks and not module._forward_pre_hooks for module in bound.model.modules()
    )


def test_a_model_in_training_mode_is_put_back():
    bound = tiny_model()
    bound.model.train()
    with AnswerReader(bound):
        assert not bound.model.training
    assert bound.model.training
