"""Tiny models that look like any other and must not be scored, each with the check that refuses it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from culnig.models.base import BoundLinear, BoundModel
from tests.tiny_models import tiny_model


def swapped(bound: BoundModel, first: str, second: str) -> BoundModel:
    """The bound model with the names of two modules exchanged in every layer, as by a wrong adapter."""
    exchange = {first: second, second: first}

    def renamed(own: Any) -> Any:
        module = exchange.get(own.segment.module, own.segment.module)
        return replace(own, segment=bound.layout.segment(module, own.segment.layer))

    linears = tuple(
        BoundLinear(linear.linear, tuple(renamed(own) for own in linear.slices)) for linear in bound.linears
    )
    return replace(bound, linears=linears)


def query_as_key() -> BoundModel:
    return swapped(tiny_model("gpt2"), "self_attn.q_proj", "self_attn.k_proj")


def unused_module() -> BoundModel:
    bound = tiny_model()
    bound.model.model.layers[1].mlp.forward = lambda x: x
    return bound


def module_used_without_a_call() -> BoundModel:
    """The layer reads the weight, so a hook on the module sees nothing."""
    bound = tiny_model()
    mlp = bound.model.model.layers[0].mlp

    def forward(x: torch.Tensor) -> torch.Tensor:
        gate = nn.functional.linear(x, mlp.gate_proj.weight)
        return mlp.down_proj(nn.functional.silu(gate) * mlp.up_proj(x))

    mlp.forward = forward
    return bound


def shared_module() -> BoundModel:
    """Two uses of one module in a pass: the layer's MLP runs twice."""
    bound = tiny_model()
    mlp = bound.model.model.layers[0].mlp
    forward = mlp.forward
    mlp.forward = lambda x: forward(forward(x))
    return bound


def detached_module() -> BoundModel:
    bound = tiny_model()
    up = bound.model.model.layers[2].mlp.down_proj
    up.register_forward_pre_hook(lambda module, inputs: (inputs[0].detach(),))
    return bound


def after_embeddings(bound: BoundModel, change: Any) -> BoundModel:
    bound.model.model.layers[0].register_forward_pre_hook(
        lambda layer, inputs: (change(inputs[0]), *inputs[1:])
    )
    return bound


def mean_of_the_batch() -> BoundModel:
    """As batch normalisation in training mode."""
    return after_embeddings(tiny_model(), lambda hidden: hidden - hidden.mean(0, keepdim=True))


def largest_of_the_batch(levels: int = 15) -> BoundModel:
    """Activations rounded to 8 bit by one scale for the whole batch, in float32."""

    def rounded(hidden: torch.Tensor) -> torch.Tensor:
        scale = hidden.detach().abs().max() / levels
        return hidden + ((hidden / scale).round() * scale - hidden).detach()

    bound = tiny_model()
    for layer in bound.model.model.layers:
        layer.mlp.down_proj.register_forward_pre_hook(lambda module, inputs: (rounded(inputs[0]),))
    return bound


def reads_padding() -> BoundModel:
    return after_embeddings(tiny_model(), lambda hidden: hidden + hidden.mean(1, keepdim=True))


def dropout_left_on() -> BoundModel:
    return after_embeddings(tiny_model(), lambda hidden: nn.functional.dropout(hidden, 0.1, training=True))


def submodule_in_training_mode() -> BoundModel:
    bound = tiny_model("gpt2")
    bound.model.transformer.drop.p = 0.1
    bound.model.transformer.drop.train()
    return bound


def keeps_a_state() -> BoundModel:
    calls = []

    def drift(hidden: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        return hidden * (1 + 0.01 * len(calls))

    return after_embeddings(tiny_model(), drift)


def differs_under_hooks() -> BoundModel:
    """A faster path without hooks, with another result."""
    bound = tiny_model()
    mlp = bound.model.model.layers[1].mlp
    forward = mlp.forward
    mlp.forward = lambda x: forward(x) * (1 if mlp.up_proj._forward_hooks else 1.5)
    return bound


def differs_with_gradients() -> BoundModel:
    return after_embeddings(tiny_model(), lambda hidden: hidden * (1 if torch.is_grad_enabled() else 1.5))


def changed_in_place_late() -> BoundModel:
    bound = tiny_model("qwen3")
    norm = bound.model.model.layers[1].self_attn.q_norm
    forward = norm.forward
    norm.forward = lambda q: forward(q.mul_(0.5) if q.shape[1] > 2 else q)
    return bound


def last_token_only() -> BoundModel:
    bound = tiny_model()
    head = bound.model.lm_head
    bound.model.model.norm.register_forward_hook(lambda module, inputs, output: output[:, -1:])
    assert isinstance(head, nn.Linear)
    return bound


@dataclass(frozen=True)
class Unsound:
    """A model, and how its refusal is worded: check and beginning of its detail."""

    make: Any
    check: str
    detail: str


UNSOUND = [
    Unsound(query_as_key, "query, key and value", "wrong in layers 0, 1, 2"),
    Unsound(unused_module, "binding and widths", "not run or detached: mlp.gate_proj of layer 1"),
    Unsound(
        module_used_without_a_call, "binding and widths", "not run or detached: mlp.gate_proj of layer 0"
    ),
    Unsound(shared_module, "binding and widths", "run twice: mlp"),
    Unsound(detached_module, "binding and widths", "not run or detached: mlp.gate_proj of layer 2"),
    Unsound(mean_of_the_batch, "batches and padding", "scores alone and in a batch differ by"),
    Unsound(largest_of_the_batch, "batches and padding", "scores alone and in a batch differ by"),
    Unsound(reads_padding, "batches and padding", "scores alone and in a batch differ by"),
    Unsound(dropout_left_on, "repeated answers", "the model computes at random"),
    Unsound(submodule_in_training_mode, "repeated answers", "the model computes at random"),
    Unsound(keeps_a_state, "repeated answers", "or keeps a state"),
    Unsound(differs_under_hooks, "capture changes nothing", "with and without hooks"),
    Unsound(differs_with_gradients, "capture changes nothing", "with and without hooks"),
    Unsound(changed_in_place_late, "binding and widths", "output of self_attn.q_proj of layer 1 was changed"),
    Unsound(last_token_only, "binding and widths", "LlamaForCausalLM returns logits of shape (3, 1, 260)"),
]
