"""Adapter for decoders with a gated MLP: Llama, SmolLM, Qwen, Mistral, Falcon3, Gemma, OLMo, Phi-3 …

It looks for one stack of layers in which every layer has an attention block with query, key and value
projections (separate `q_proj`, `k_proj`, `v_proj`, or one fused `qkv_proj` in that order) and an MLP with
a gate and an up projection (separate, or one fused `gate_up_proj`, gate first). Widths that the
configuration declares are checked against the modules.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from culnig.core.neurons import KEY, MLP_GATE, MLP_UP, QUERY, VALUE
from culnig.errors import BindingError
from culnig.models.base import ModelAdapter, ModuleSlice
from culnig.models.structure import cut, declared, decoder_layers, has

if TYPE_CHECKING:
    from torch import nn


class GatedDecoder(ModelAdapter):
    """Binds gate and up projection before the activation function, query, key and value before rotation."""

    name = "gated-decoder"
    summary = (
        "decoders with a gated MLP (Llama, SmolLM, Qwen, Mistral, Falcon3, Gemma, OLMo, Phi-3 …), "
        "projections separate or fused; neuron = output of the gate, up, query, key or value projection"
    )

    def bind(self, model: nn.Module, config: Any) -> list[ModuleSlice]:
        """All slices of the decoder's layers."""
        expected = "`self_attn` and a gated `mlp` (gate_proj and up_proj, or gate_up_proj)"
        slices: list[ModuleSlice] = []
        for number, layer in enumerate(decoder_layers(model, _fits, expected)):
            slices += _attention(layer.get_submodule("self_attn"), number, config)
            slices += _mlp(layer.get_submodule("mlp"), number, config)
        return slices


def _fits(layer: nn.Module) -> bool:
    gated = has(layer, "mlp.gate_proj", "mlp.up_proj") or has(layer, "mlp.gate_up_proj")
    return gated and has(layer, "self_attn")


def _attention(attention: nn.Module, layer: int, config: Any) -> list[ModuleSlice]:
    heads = config.num_attention_heads
    head_width = getattr(config, "head_dim", None) or config.hidden_size // heads
    query = heads * head_width
    key = (getattr(config, "num_key_value_heads", None) or heads) * head_width
    if has(attention, "qkv_proj"):
        parts = [(QUERY, query), (KEY, key), (VALUE, key)]
        return cut(attention.get_submodule("qkv_proj"), "self_attn.qkv_proj", layer, parts)
    if has(attention, "q_proj", "k_proj", "v_proj"):
        separate = ((QUERY, "q_proj", query), (KEY, "k_proj", key), (VALUE, "v_proj", key))
        return [
            module_slice
            for module, name, width in separate
            for module_slice in cut(attention.get_submodule(name), module, layer, [(module, width)])
        ]
    raise BindingError(
        f"layer {layer}: `self_attn` has neither q_proj, k_proj and v_proj nor qkv_proj, but "
        f"{', '.join(name for name, _ in attention.named_children()) or 'nothing'}"
    )


def _mlp(mlp: nn.Module, layer: int, config: Any) -> list[ModuleSlice]:
    width = declared(config, "intermediate_size")
    if has(mlp, "gate_up_proj"):
        fused = [(MLP_GATE, width), (MLP_UP, width)]
        return cut(mlp.get_submodule("gate_up_proj"), "mlp.gate_up_proj", layer, fused)
    gate = cut(mlp.get_submodule("gate_proj"), MLP_GATE, layer, [(MLP_GATE, width)])
    return gate + cut(mlp.get_submodule("up_proj"), MLP_UP, layer, [(MLP_UP, width)])
