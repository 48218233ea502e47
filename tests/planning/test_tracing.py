"""Sizes traced without numbers are the sizes of a real batch."""

from __future__ import annotations

import copy

import pytest
import torch
from transformers import AutoModelForCausalLM

from culnig import registry
from culnig.inference.live_bytes import LiveBytes
from culnig.models.base import bind_model
from culnig.planning import tracing
from tests.tiny_models import ALL_CONFIGS, _attention, tiny_model


def skeleton(family):
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(copy.deepcopy(ALL_CONFIGS[family]), **_attention(family))
    return bind_model(family, model.eval(), None, registry.adapters())


@pytest.mark.parametrize("family", ALL_CONFIGS)
@pytest.mark.parametrize("checkpointing", [False, True])
def test_the_traced_peak_is_that_of_a_real_batch(family, checkpointing):
    """The same counter on real tensors sees what the meta device promised."""
    bound = tiny_model(family)
    with LiveBytes(bound.model) as live:
        tracing._run(bound, 3, 50, capture=True, checkpointing=checkpointing)
    traced = tracing.peak_batch_bytes(skeleton(family), 3, 50, checkpointing=checkpointing)
    assert traced == pytest.approx(live.peak, rel=0.03)


def test_checkpointing_takes_less_and_capture_takes_more():
    bound = skeleton("llama")
    plain = tracing.peak_batch_bytes(bound, 4, 100)
    assert tracing.peak_batch_bytes(bound, 4, 100, checkpointing=True) < 0.7 * plain
    assert tracing.peak_batch_bytes(bound, 4, 100, capture=False) < plain


def test_flops_are_those_of_the_matrix_products():
    """Per token and linear module 2·in·out forward and as many backward; the head sees one token."""
    bound, config, n_tokens = skeleton("llama"), ALL_CONFIGS["llama"], 64
    per_layer = 24 * 24 * 2 + 2 * 24 * 12 + 3 * 24 * 40
    linears = 4 * config.num_hidden_layers * per_layer * n_tokens
    attention = 3 * 2 * 2 * config.num_hidden_layers * n_tokens**2 * 24
    assert tracing.batch_flops(bound, 1, n_tokens) == pytest.approx(linears + attention, rel=0.03)


def test_the_skeleton_is_untouched_afterwards():
    bound = skeleton("qwen3")
    before = {name: parameter.requires_grad for name, parameter in bound.model.named_parameters()}
    tracing.peak_batch_bytes(bound, 1, 8)
    tracing.batch_flops(bound, 1, 8)
    assert {name: p.requires_grad for name, p in bound.model.named_parameters()} == before
    assert not any(module._forward_hooks for module in bound.model.modules())
