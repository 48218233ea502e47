"""Binding of decoders with a plain MLP and fused attention: GPT-2's Conv1D, GPT-NeoX's alternating heads."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from culnig.core.neurons import Neuron
from culnig.models.intervention import intervene
from tests.tiny_models import PLAIN_CONFIGS, tiny_model
from tests.tolerances import assert_values_equal


@pytest.mark.parametrize("family", PLAIN_CONFIGS)
def test_every_module_of_every_layer_is_bound(family):
    found = [(s.layer, s.module, s.width) for s in tiny_model(family).layout.segments]
    widths = {"self_attn.q_proj": 24, "self_attn.k_proj": 24, "self_attn.v_proj": 24, "mlp.fc_in": 40}
    assert found == [(layer, module, width) for layer in range(3) for module, width in widths.items()]


@pytest.mark.parametrize("family", PLAIN_CONFIGS)
def test_the_first_projection_of_a_plain_mlp_is_in_the_pools(family):
    layout = tiny_model(family).layout
    assert {neuron.module for neuron in layout.neurons(layout.pool("mlp"))} == {"mlp.fc_in"}
    assert len(layout.pool("all")) == layout.n_neurons


def unfused(linear, heads=None):
    """Query, key and value projections as linears of their own, with the fused one's weights."""
    weight = linear.weight if isinstance(linear, nn.Linear) else linear.weight.T  # Conv1D lies the other way
    weight, bias = weight.detach(), linear.bias.detach()
    if heads is None:
        parts = zip(weight.chunk(3), bias.chunk(3), strict=True)
    else:
        by_head, bias_by_head = weight.view(heads, 3, -1, weight.shape[1]), bias.view(heads, 3, -1)
        parts = [(by_head[:, i].flatten(0, 1), bias_by_head[:, i].flatten()) for i in range(3)]
    return [lambda x, w=w, b=b: nn.functional.linear(x, w, b) for w, b in parts]


@pytest.mark.parametrize(("family", "heads"), [("gpt2", None), ("gpt_neox", 4)])
def test_each_slice_is_the_unfused_projection_with_the_same_weights(family, heads):
    bound = tiny_model(family)
    attention = bound.linears[0]
    x = torch.randn(2, 5, 24)
    output = attention.linear(x)
    assert [piece.segment.module for piece in attention.slices] == [
        "self_attn.q_proj",
        "self_attn.k_proj",
        "self_attn.v_proj",
    ]
    for piece, projection in zip(attention.slices, unfused(attention.linear, heads), strict=True):
        assert_values_equal(piece.take(output), projection(x))
        columns = piece.columns(np.arange(piece.segment.width))
        assert torch.equal(output[..., torch.from_numpy(columns)], piece.take(output))


def test_modules_named_query_key_and_value_act_as_such():
    """The first token attends to itself alone, whatever its query and key: only its value matters."""
    for family in PLAIN_CONFIGS:
        bound = tiny_model(family)
        ids = torch.tensor([[5]])
        with torch.no_grad():
            bare = bound.model(ids).logits
            for module, matters in (("q_proj", False), ("k_proj", False), ("v_proj", True)):
                flat = np.array([bound.layout.flat(Neuron(f"self_attn.{module}", 0, i)) for i in range(24)])
                with intervene(bound, flat, 3.0):
                    assert torch.equal(bound.model(ids).logits, bare) is not matters
