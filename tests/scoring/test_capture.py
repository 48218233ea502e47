"""Capture changes nothing, keeps nothing, and undoes itself."""

from __future__ import annotations

import contextlib
import gc
import weakref

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, OlmoConfig

from culnig import registry
from culnig.errors import BindingError
from culnig.inference.answers import AnswerReader, gold_probabilities
from culnig.inference.batches import make_batches
from culnig.inference.encoding import Encoder
from culnig.models.base import bind_model
from culnig.models.intervention import intervene
from culnig.scoring.capture import Capture
from culnig.scoring.checkpointing import checkpointed
from culnig.scoring.scoring import ScoreSettings, score_benchmark
from tests.tiny_models import _SMALL, byte_tokenizer, tiny_items, tiny_model


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


IN_PLACE = {
    "scale": (lambda q: q.mul_(0.5), lambda q: q * 0.5),
    "bias": (lambda q: q.add_(0.3), lambda q: q + 0.3),
    "clip": (lambda q: q.clamp_(-0.2, 0.2), lambda q: q.clamp(-0.2, 0.2)),
    "view": (lambda q: q.view(-1)[::2].add_(0.3) is None or q, lambda q: q + 0.3 * alternating(q)),
}
"""Changes of the queries, in place and out of place."""


def alternating(tensor):
    return (torch.arange(tensor.numel()) % 2 == 0).view(tensor.shape).float()


def changing_queries(change, **options):
    """A tiny Qwen 3 whose layers change the output of q_proj, in front of their query norm."""
    bound = tiny_model("qwen3", **options)
    for layer in bound.model.model.layers:
        norm = layer.self_attn.q_norm
        norm.forward = lambda queries, forward=norm.forward: forward(change(queries))
    return bound


@pytest.mark.parametrize("name", IN_PLACE)
def test_scores_and_stored_activations_are_those_before_a_change_in_place(name):
    """The same change out of place, which cannot touch what was captured, gives the expected values."""
    results = []
    for change in IN_PLACE[name]:
        bound = changing_queries(change)
        activations = {}
        with (
            AnswerReader(bound) as reader,
            Capture(bound, lambda s, a, gradient, kept=activations: kept.update({s: a.clone()})),
        ):
            gold_probabilities(batch := one_batch(bound), reader.logits(batch).softmax(-1)).sum().backward()
        scores = score_benchmark(bound, tiny_items(4), "target", ScoreSettings()).moments.sum
        results.append((activations, scores))
    (in_place, scores), (out_of_place, expected) = results
    assert np.array_equal(scores, expected)
    assert in_place.keys() == out_of_place.keys()
    assert all(torch.equal(in_place[segment], out_of_place[segment]) for segment in in_place)


def test_a_mask_is_applied_before_a_change_in_place():
    answers = []
    for change in IN_PLACE["bias"]:
        bound = changing_queries(change)
        with AnswerReader(bound) as reader, intervene(bound, np.arange(200)), torch.inference_mode():
            answers.append(reader.logits(one_batch(bound)))
    assert torch.equal(*answers)


def test_clipped_queries_of_olmo_are_stored_as_the_linear_module_gave_them():
    torch.manual_seed(0)
    config = OlmoConfig(**_SMALL, clip_qkv=0.3)
    model = AutoModelForCausalLM.from_config(config).eval()
    bound = bind_model("olmo", model, byte_tokenizer(), registry.adapters())
    query = bound.layout.segment("self_attn.q_proj", 1)
    kept = {}
    inputs = []
    linear = model.model.layers[1].self_attn.q_proj
    linear.register_forward_pre_hook(lambda module, given: inputs.append(given[0].detach().clone()))
    with AnswerReader(bound) as reader, Capture(bound, lambda s, a, g: kept.update({s: a.clone()})):
        gold_probabilities(batch := one_batch(bound), reader.logits(batch).softmax(-1)).sum().backward()
    expected = inputs[-1] @ linear.weight.T
    assert expected.abs().max() > 0.3
    torch.testing.assert_close(kept[query], expected)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_outputs_that_nobody_changes_are_not_copied(checkpointing):
    bound = tiny_model()
    outputs, copied = {}, []
    for linear in bound.linears:
        linear.linear.register_forward_hook(
            lambda module, inputs, output: outputs.update({output.data_ptr(): output})
        )

    def consume(segment, activation, gradient):
        if activation.untyped_storage().data_ptr() not in outputs:
            copied.append(segment)

    with (
        checkpointed(bound) if checkpointing else contextlib.nullcontext(),
        AnswerReader(bound) as reader,
        Capture(bound, consume),
    ):
        gold_probabilities(batch := one_batch(bound), reader.logits(batch).softmax(-1)).sum().backward()
    assert outputs
    assert not copied


def test_a_change_in_place_of_long_prompts_only_is_refused_by_name():
    bound = changing_queries(lambda queries: queries.mul_(0.5) if queries.shape[1] > 2 else queries)
    with pytest.raises(BindingError, match=r"output of self_attn.q_proj of layer 2 was changed in place"):
        score_benchmark(bound, tiny_items(2), "target", ScoreSettings())
