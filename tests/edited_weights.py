"""Where the weights of a neuron are in each family's own parameters, found without culnig's binding."""

from __future__ import annotations

from typing import Any

import torch
from transformers.pytorch_utils import Conv1D

from culnig.core.neurons import Neuron


def weights_of(model: Any, neuron: Neuron) -> tuple[Any, int]:
    """The linear that computes a neuron and the place of the neuron among its outputs."""
    kind = neuron.module.rpartition(".")[2]
    settings = model.config.get_text_config()
    heads = settings.num_attention_heads
    width = getattr(settings, "head_dim", None) or settings.hidden_size // heads
    part = ("q_proj", "k_proj", "v_proj").index(kind) if kind[1:] == "_proj" else None
    if model.config.model_type == "gpt2":  # queries, keys and values of all heads, one after the other
        layer = model.transformer.h[neuron.layer]
        if part is None:
            return layer.mlp.c_fc, neuron.index
        return layer.attn.c_attn, part * settings.n_embd + neuron.index
    if model.config.model_type == "gpt_neox":  # head after head: its query, key and value
        layer = model.gpt_neox.layers[neuron.layer]
        if part is None:
            return layer.mlp.dense_h_to_4h, neuron.index
        head, inside = divmod(neuron.index, width)
        return layer.attention.query_key_value, (3 * head + part) * width + inside
    decoder = model.model
    layer = getattr(decoder, "language_model", decoder).layers[neuron.layer]
    if model.config.model_type == "phi3":
        if part is None:
            return layer.mlp.gate_up_proj, neuron.index + (kind == "up_proj") * settings.intermediate_size
        before = (0, heads, heads + settings.num_key_value_heads)[part]
        return layer.self_attn.qkv_proj, before * width + neuron.index
    return getattr(layer.mlp if part is None else layer.self_attn, kind), neuron.index


@torch.no_grad()
def scale_weights(model: Any, neuron: Neuron, factor: float) -> None:
    """Multiply the weight row (the column of a Conv1D) and the bias of a neuron."""
    linear, place = weights_of(model, neuron)
    weight = linear.weight.T if isinstance(linear, Conv1D) else linear.weight
    weight[place] *= factor
    if linear.bias is not None:
        linear.bias[place] *= factor


@torch.no_grad()
def set_bias(model: Any, neuron: Neuron, value: float) -> None:
    """Let a neuron be `value` at every token."""
    linear, place = weights_of(model, neuron)
    if linear.bias is None:
        linear.bias = torch.nn.Parameter(torch.zeros(len(linear.weight)))
    scale_weights(model, neuron, 0.0)
    linear.bias[place] = value
