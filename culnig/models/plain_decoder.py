"""Adapter for decoders with a plain MLP and one fused attention projection: GPT-2, GPT-NeoX, Pythia.

The MLP's neuron is the output of its first projection, before the activation function; it is called
`mlp.fc_in` whatever the family calls it. Two arrangements are known:

| attention | its output | MLP |
|---|---|---|
| `attn.c_attn` (GPT-2) | all queries, all keys, all values | `mlp.c_fc` |
| `attention.query_key_value` (GPT-NeoX) | head after head: its query, key, value | `mlp.dense_h_to_4h` |
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from culnig.core.neurons import KEY, MLP_IN, QUERY, VALUE
from culnig.models.base import ModelAdapter, ModuleSlice
from culnig.models.structure import cut, cut_per_head, declared, decoder_layers, has

if TYPE_CHECKING:
    from torch import nn

_SIDE_BY_SIDE = ("attn.c_attn", "mlp.c_fc")
_PER_HEAD = ("attention.query_key_value", "mlp.dense_h_to_4h")


class PlainDecoder(ModelAdapter):
    """Binds the first MLP projection before the activation function, query, key and value before rotation."""

    name = "plain-decoder"
    summary = (
        "decoders with a plain MLP and one fused attention projection (GPT-2, GPT-NeoX, Pythia …); neuron = "
        "output of the first MLP projection (mlp.fc_in) or of the query, key or value projection"
    )

    def bind(self, model: nn.Module, config: Any) -> list[ModuleSlice]:
        """All slices of the decoder's layers."""
        expected = "`attn.c_attn` and `mlp.c_fc`, or `attention.query_key_value` and `mlp.dense_h_to_4h`"
        slices: list[ModuleSlice] = []
        for number, layer in enumerate(decoder_layers(model, _fits, expected)):
            slices += _bind_layer(layer, number, config)
        return slices


def _fits(layer: nn.Module) -> bool:
    # with cross-attention a layer belongs to an encoder-decoder
    return (has(layer, *_SIDE_BY_SIDE) or has(layer, *_PER_HEAD)) and not has(layer, "crossattention")


def _bind_layer(layer: nn.Module, number: int, config: Any) -> list[ModuleSlice]:
    hidden, heads = config.hidden_size, config.num_attention_heads
    # GPT-2 leaves n_inner empty where it is the usual fourfold
    inner = declared(config, "intermediate_size") if hasattr(config, "intermediate_size") else None
    inner = inner or getattr(config, "n_inner", None) or 4 * hidden
    side_by_side = has(layer, *_SIDE_BY_SIDE)
    attention_path, mlp_path = _SIDE_BY_SIDE if side_by_side else _PER_HEAD
    attention, mlp = layer.get_submodule(attention_path), layer.get_submodule(mlp_path)
    if side_by_side:
        parts = [(QUERY, hidden), (KEY, hidden), (VALUE, hidden)]
        slices = cut(attention, attention_path, number, parts)
    else:
        modules = (QUERY, KEY, VALUE)
        slices = cut_per_head(attention, attention_path, number, modules, heads, hidden // heads)
    return slices + cut(mlp, mlp_path, number, [(MLP_IN, inner)])
