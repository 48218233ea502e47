"""Binding by structure."""

from __future__ import annotations

import copy

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig

from culnig import registry
from culnig.errors import BindingError
from culnig.models.base import bind_model
from tests.tiny_models import CONFIGS, byte_tokenizer, tiny_model


@pytest.mark.parametrize("family", CONFIGS)
def test_every_module_of_every_layer_is_bound_with_its_declared_width(family):
    bound, config = tiny_model(family), CONFIGS[family]
    head_width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    widths = {
        "self_attn.q_proj": config.num_attention_heads * head_width,
        "self_attn.k_proj": config.num_key_value_heads * head_width,
        "self_attn.v_proj": config.num_key_value_heads * head_width,
        "mlp.gate_proj": config.intermediate_size,
        "mlp.up_proj": config.intermediate_size,
    }
    found = [(s.layer, s.module, s.width) for s in bound.layout.segments]
    assert found == [
        (layer, module, widths[module]) for layer in range(config.num_hidden_layers) for module in widths
    ]


def test_fused_projections_are_one_linear_with_several_slices():
    bound = tiny_model("phi3")
    slices = [[(s.segment.module, s.offset) for s in linear.slices] for linear in bound.linears[:2]]
    assert slices == [
        [("self_attn.q_proj", 0), ("self_attn.k_proj", 24), ("self_attn.v_proj", 36)],
        [("mlp.gate_proj", 0), ("mlp.up_proj", 40)],
    ]


def test_a_fused_slice_is_the_unfused_projection_with_the_same_weights():
    phi, llama = tiny_model("phi3", seed=1), tiny_model("llama", seed=2)
    source = phi.model.model.layers[0]
    target = llama.model.model.layers[0]
    with torch.no_grad():
        parts = source.mlp.gate_up_proj.weight.chunk(2)
        target.mlp.gate_proj.weight.copy_(parts[0])
        target.mlp.up_proj.weight.copy_(parts[1])
        x = torch.randn(3, 24)
        fused = source.mlp.gate_up_proj(x)
        (gate, up) = phi.linears[1].slices
        assert torch.equal(gate.take(fused), target.mlp.gate_proj(x))
        assert torch.equal(up.take(fused), target.mlp.up_proj(x))


def test_a_width_that_the_next_projection_does_not_read_is_refused():
    model = AutoModelForCausalLM.from_config(copy.deepcopy(CONFIGS["llama"]))
    model.model.layers[1].mlp.gate_proj = torch.nn.Linear(24, 41)
    with pytest.raises(BindingError, match=r"layer 1: `mlp.gate_proj` has 41 outputs.* expects 40"):
        bind_model("wide", model, byte_tokenizer(), registry.adapters())


def test_of_a_multimodal_wrapper_only_the_text_decoder_is_bound():
    bound = tiny_model("gemma3_multimodal")
    assert bound.layout.hash == tiny_model("gemma3").layout.hash
    linears = {id(linear.linear) for linear in bound.linears}
    assert any(id(module) in linears for module in bound.model.model.language_model.modules())
    assert not any(id(module) in linears for module in bound.model.model.vision_tower.modules())


def test_weights_hash_tells_a_changed_copy():
    first, same, other = tiny_model(seed=0), tiny_model(seed=0), tiny_model(seed=1)
    assert first.weights_hash == same.weights_hash != other.weights_hash
    assert first.layout.hash == other.layout.hash


def test_layers_may_have_biases():
    model = AutoModelForCausalLM.from_config(
        LlamaConfig(**{**CONFIGS["llama"].to_dict(), "attention_bias": True, "mlp_bias": True})
    )
    bound = bind_model("biased", model, byte_tokenizer(), registry.adapters())
    assert bound.layout.hash == tiny_model("llama").layout.hash
