"""Gradient checkpointing: layers drop their activations and compute them again in the backward pass.

transformers checkpoints only in training mode, which would also switch dropout on, so the layers are wrapped
here and the model stays in evaluation mode. Only reentrant checkpointing fits the capture: its first forward
pass builds no graph (the hooks see that and note nothing), and the second runs one layer at a time, so one
layer's activations are in memory instead of all layers'.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from culnig.errors import InputError, argument
from culnig.models.base import BoundModel


@contextlib.contextmanager
def checkpointed(bound: BoundModel) -> Iterator[None]:
    """Checkpoint every layer that holds neurons; exit restores the layers."""
    layers = _layers(bound)
    if not layers:
        raise InputError(
            f"{type(bound.model).__name__} has no layers that transformers can checkpoint; leave out "
            f"{argument('gradient_checkpointing')} and use a smaller {argument('token_budget')}"
        )
    with contextlib.ExitStack() as stack:
        for layer in layers:
            stack.callback(_restore, layer, layer.__dict__.get("forward"))
            layer.forward = _checkpointing(layer.forward)
        yield


def _layers(bound: BoundModel) -> list[Any]:
    from transformers.modeling_layers import GradientCheckpointingLayer

    linears = {id(linear.linear) for linear in bound.linears}
    return [
        module
        for module in bound.model.modules()
        if isinstance(module, GradientCheckpointingLayer)
        and any(id(inner) in linears for inner in module.modules())
    ]


def _checkpointing(forward: Callable[..., Any]) -> Callable[..., Any]:
    import torch
    from torch.utils.checkpoint import checkpoint

    def forward_twice(*args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():  # texts that are only read
            return forward(*args, **kwargs)
        if not args:  # checkpoint takes gradients of positional arguments only
            args = (kwargs.pop("hidden_states"),)
        return checkpoint(partial(forward, **kwargs), *args, use_reentrant=True, preserve_rng_state=False)

    return forward_twice


def _restore(layer: Any, own_forward: Callable[..., Any] | None) -> None:
    if own_forward is None:
        del layer.forward
    else:
        layer.forward = own_forward  # accelerate's, where it put the layer on a device
