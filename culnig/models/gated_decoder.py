"""Adapter for decoders with a gated MLP: Llama, SmolLM, Qwen, Mistral, Falcon3, Gemma, Phi-3 and their kin.

It looks for one stack of layers in which every layer has an attention block with query, key and value
projections (separate `q_proj`, `k_proj`, `v_proj`, or one fused `qkv_proj` in that order) and an MLP with
a gate and an up projection (separate, or one fused `gate_up_proj`, gate first). Widths that the
configuration declares are checked against the modules.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from culnig.bound import ModelAdapter, ModuleSlice
from culnig.errors import BindingError
from culnig.neurons import KEY, MLP_GATE, MLP_UP, QUERY, VALUE

if TYPE_CHECKING:
    from torch import nn

Parts = list[tuple[str, int]]
"""Modules that one linear holds, in the order of its output, with their widths."""


class GatedDecoder(ModelAdapter):
    """Binds gate and up projection before the activation function, query, key and value before rotation."""

    name = "gated-decoder"
    summary = (
        "decoders with a gated MLP (Llama, SmolLM, Qwen, Mistral, Falcon3, Phi-3 …), projections separate "
        "or fused; neuron = output of the gate, up, query, key or value projection"
    )

    def bind(self, model: nn.Module, config: Any) -> list[ModuleSlice]:
        """All slices of the decoder's layers."""
        slices: list[ModuleSlice] = []
        for number, layer in enumerate(_decoder_layers(model)):
            slices += _attention(layer.get_submodule("self_attn"), number, config)
            slices += _mlp(layer.get_submodule("mlp"), number, config)
        return slices


def _has(module: nn.Module, *paths: str) -> bool:
    names = {name for name, _ in module.named_modules()}
    return all(path in names for path in paths)


def _decoder_layers(model: nn.Module) -> list[nn.Module]:
    """The one stack of gated decoder layers in the model."""
    from torch import nn

    stacks = {
        name: list(stack)
        for name, stack in model.named_modules()
        if isinstance(stack, nn.ModuleList)
        and len(stack) > 0
        and all(_has(layer, "self_attn", "mlp") for layer in stack)
        and all(
            _has(layer, "mlp.gate_proj", "mlp.up_proj") or _has(layer, "mlp.gate_up_proj") for layer in stack
        )
    }
    if len(stacks) != 1:
        found = ", ".join(stacks) or "none"
        raise BindingError(
            "expected one stack of layers with `self_attn` and a gated `mlp` (gate_proj and up_proj, or "
            f"gate_up_proj), found {found}"
        )
    return next(iter(stacks.values()))


def _attention(attention: nn.Module, layer: int, config: Any) -> list[ModuleSlice]:
    heads = config.num_attention_heads
    head_width = getattr(config, "head_dim", None) or config.hidden_size // heads
    query = heads * head_width
    key = (getattr(config, "num_key_value_heads", None) or heads) * head_width
    if _has(attention, "qkv_proj"):
        parts: Parts = [(QUERY, query), (KEY, key), (VALUE, key)]
        return _cut(attention.get_submodule("qkv_proj"), "self_attn.qkv_proj", layer, parts)
    if _has(attention, "q_proj", "k_proj", "v_proj"):
        separate = ((QUERY, "q_proj", query), (KEY, "k_proj", key), (VALUE, "v_proj", key))
        return [
            piece
            for module, name, width in separate
            for piece in _cut(attention.get_submodule(name), module, layer, [(module, width)])
        ]
    raise BindingError(
        f"layer {layer}: `self_attn` has neither q_proj, k_proj and v_proj nor qkv_proj, but "
        f"{', '.join(name for name, _ in attention.named_children()) or 'nothing'}"
    )


def _mlp(mlp: nn.Module, layer: int, config: Any) -> list[ModuleSlice]:
    width = config.intermediate_size
    if _has(mlp, "gate_up_proj"):
        fused: Parts = [(MLP_GATE, width), (MLP_UP, width)]
        return _cut(mlp.get_submodule("gate_up_proj"), "mlp.gate_up_proj", layer, fused)
    gate = _cut(mlp.get_submodule("gate_proj"), MLP_GATE, layer, [(MLP_GATE, width)])
    return gate + _cut(mlp.get_submodule("up_proj"), MLP_UP, layer, [(MLP_UP, width)])


def _cut(linear: nn.Module, name: str, layer: int, parts: Parts) -> list[ModuleSlice]:
    """Cut a linear's output into its parts; their widths must add up to the linear's."""
    declared = sum(width for _, width in parts)
    actual = getattr(linear, "out_features", None)
    if actual is None:
        raise BindingError(f"layer {layer}: `{name}` is a {type(linear).__name__}, not a linear module")
    if actual != declared:
        raise BindingError(
            f"layer {layer}: `{name}` has {actual} outputs, the configuration declares {declared}"
        )
    slices, offset = [], 0
    for module, width in parts:
        slices.append(ModuleSlice(linear, module, layer, offset, width))
        offset += width
    return slices
