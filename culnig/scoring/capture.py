"""Capture: activation and gradient of every module, handed over inside the backward pass and then dropped.

A forward hook on each linear module records its output; a hook on that output's gradient hands both to a
consumer, slice by slice, the moment autograd has the gradient. At any time the capture holds one gradient in
addition to what the graph holds anyway. Parameters are frozen and the input embeddings require a gradient, so
the backward pass computes gradients of activations and none of weights.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from culnig.core.neurons import Segment
from culnig.inference.answers import frozen
from culnig.models.base import BoundLinear, BoundModel

if TYPE_CHECKING:
    import torch

Consumer = Callable[[Segment, "torch.Tensor", "torch.Tensor"], None]
"""Takes a segment with its activation and gradient, both (item, token, neuron), possibly strided views."""


class Capture:
    """Hooks on a bound model for as long as the context lasts; exit removes them all."""

    def __init__(self, bound: BoundModel, consume: Consumer) -> None:
        self._bound = bound
        self._consume = consume
        self._stack = contextlib.ExitStack()
        self._keeps_activations = False
        self._scale: float | None = None

    def __enter__(self) -> Capture:
        self._stack.enter_context(frozen(self._bound.model))
        embeddings = self._bound.model.get_input_embeddings()
        self._hook(embeddings.register_forward_hook(self._begin))
        for linear in self._bound.linears:
            self._hook(linear.linear.register_forward_hook(self._noting(linear)))
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    @contextlib.contextmanager
    def keeping_activations(self) -> Iterator[None]:
        """Backward passes inside are not the last through their graph: activations are kept for the next."""
        self._keeps_activations = True
        try:
            yield
        finally:
            self._keeps_activations = False

    @contextlib.contextmanager
    def scaled(self, factor: float) -> Iterator[None]:
        """Forward passes inside have the outputs of all modules multiplied by `factor`."""
        self._scale = factor
        try:
            yield
        finally:
            self._scale = None

    def _hook(self, handle: Any) -> None:
        self._stack.callback(handle.remove)

    def _begin(self, module: Any, inputs: Any, output: torch.Tensor) -> torch.Tensor:
        self._shape = output.shape[:2]  # (item, token)
        return output.requires_grad_(True)

    def _noting(self, bound: BoundLinear) -> Callable[[Any, Any, torch.Tensor], torch.Tensor | None]:
        def note(module: Any, inputs: Any, output: torch.Tensor) -> torch.Tensor | None:
            scaled = None if self._scale is None else output * self._scale
            output = output if scaled is None else scaled
            if not output.requires_grad:  # the first forward pass under gradient checkpointing
                return scaled
            shape = self._shape
            activation: list[torch.Tensor] = [output.detach()]  # an alias without the graph: no cycle

            def hand_over(gradient: torch.Tensor) -> None:
                noted = activation[0] if self._keeps_activations else activation.pop()
                # some families (OPT) give a linear all tokens of all items in one row
                noted, gradient = (tensor.reshape(*shape, -1) for tensor in (noted, gradient))
                for own in bound.slices:
                    self._consume(own.segment, own.take(noted), own.take(gradient))

            output.register_hook(hand_over)  # type: ignore[no-untyped-call]
            return scaled

        return note
