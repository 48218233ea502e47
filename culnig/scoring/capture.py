"""Capture: activation and gradient of every module, handed over inside the backward pass and then dropped.

A forward hook on each linear module records its output; a hook on that output's gradient hands both to a
consumer, slice by slice, the moment autograd has the gradient. At any time the capture holds one gradient in
addition to what the graph holds anyway. Parameters are frozen and the input embeddings require a gradient, so
the backward pass computes gradients of activations and none of weights.

An activation is the output of the linear module. Some families change that tensor in place afterwards (OLMo
clips queries, keys and values): there a copy is kept, so that activation and gradient belong together and the
scores are those of a family that writes the same change out of place. Other outputs are not copied.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from culnig.errors import BindingError
from culnig.inference.answers import frozen
from culnig.models.base import BoundLinear, BoundModel

if TYPE_CHECKING:
    import torch

Consumer = Callable[..., None]
"""Takes a segment with its activation and gradient, both (item, token, neuron), possibly strided views.

One that takes rows is given the neurons of experts as (row, neuron of one expert), and the `Routed` that says
which token of which expert each row is; any other is given zeros where an expert did not see a token.
"""


class Capture:
    """Hooks on a bound model for as long as the context lasts; exit removes them all."""

    def __init__(self, bound: BoundModel, consume: Consumer, *, takes_rows: bool = False) -> None:
        self._bound = bound
        self._takes_rows = takes_rows
        self._consume = consume
        self._stack = contextlib.ExitStack()
        self._keeps_activations = False
        self._scale: float | None = None

    def __enter__(self) -> Capture:
        self._stack.enter_context(frozen(self._bound.model))
        embeddings = self._bound.model.get_input_embeddings()
        self._hook(embeddings.register_forward_hook(self._begin))
        trial = functools.partial(_trial_outputs, self._bound)
        sharding = self._bound.sharding
        outputs = trial() if sharding is None else sharding.once("trial", trial)
        self._copied = frozenset(linear for linear, output in outputs.items() if output.changed_in_place)
        self.devices = {
            own.segment: _device_of(linear.linear, outputs, self._bound.input_device)
            for linear in self._bound.linears
            for own in linear.slices
        }
        """The device of each segment's activations."""
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
    def discarding(self) -> Iterator[None]:
        """Backward passes inside hand nothing over, however many go through one graph."""
        consume, self._consume = self._consume, lambda *pair: None
        try:
            with self.keeping_activations():
                yield
        finally:
            self._consume = consume

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
        return output.requires_grad_(True).clone()  # some families (CTRL, GIT) change it in place

    def _noting(self, bound: BoundLinear) -> Callable[[Any, Any, torch.Tensor], torch.Tensor | None]:
        def note(module: Any, inputs: Any, output: torch.Tensor) -> torch.Tensor | None:
            scaled = None if self._scale is None else output * self._scale
            output = output if scaled is None else scaled
            if not output.requires_grad:  # the first forward pass under gradient checkpointing
                return scaled
            shape = self._shape
            alias = output.detach()  # without the graph: no cycle
            activation = [alias.clone() if module in self._copied else alias]
            version = activation[0]._version

            routed = inputs[1] if bound.is_routed else None  # not the inputs, which autograd does not keep

            def hand_over(gradient: torch.Tensor | None) -> None:
                noted = activation[0] if self._keeps_activations else activation.pop()
                if gradient is None:
                    raise BindingError(
                        f"autograd has no gradient for {_names(bound)}: a kernel after it has no backward "
                        "pass"
                    )
                if noted._version != version:
                    raise _changed_late(bound)
                if routed is not None and self._takes_rows:
                    for own in bound.slices:
                        pair = own.take_rows(noted), own.take_rows(gradient)
                        self._consume(own.segment, *pair, routed)
                    return
                # some families (OPT) give a linear all tokens of all items in one row
                whole = [
                    bound.output((None, routed), tensor).reshape(*shape, -1) for tensor in (noted, gradient)
                ]
                for own in bound.slices:
                    self._consume(own.segment, *map(own.take, whole))

            output.register_hook(hand_over)  # type: ignore[no-untyped-call]
            return scaled

        return note


class _Output(NamedTuple):
    device: torch.device
    changed_in_place: bool
    """Whether the model changes the output of the linear module in place."""


def _trial_outputs(bound: BoundModel) -> dict[Any, _Output]:
    """The outputs of the linear modules in a forward pass of two tokens."""
    import torch

    model: Any = bound.model
    outputs: dict[Any, tuple[torch.Tensor, int]] = {}

    def note(module: Any, inputs: Any, output: torch.Tensor) -> None:
        outputs[module] = output, output._version

    with contextlib.ExitStack() as stack, torch.enable_grad():
        for linear in bound.linears:
            stack.callback(linear.linear.register_forward_hook(note).remove)
        model(input_ids=torch.zeros((1, 2), dtype=torch.long, device=bound.input_device), use_cache=False)
    return {
        module: _Output(output.device, output._version != version)
        for module, (output, version) in outputs.items()
    }


def _device_of(linear: Any, outputs: Mapping[Any, _Output], otherwise: torch.device) -> torch.device:
    """The device of a linear module's output, which a model may not have reached with two tokens.

    Projections of experts have no weights of their own that would tell it.
    """
    if linear in outputs:
        return outputs[linear].device
    return next((weight.device for weight in linear.parameters()), otherwise)


def _names(bound: BoundLinear) -> str:
    return ", ".join(f"{own.segment.module} of layer {own.segment.layer}" for own in bound.slices)


def _changed_late(bound: BoundLinear) -> BindingError:
    return BindingError(
        f"the output of {_names(bound)} was changed in place after it was captured, in this prompt but not "
        "in a trial of two tokens, so its activations are lost; write that change out of place in the "
        "model's code (`q = q.clamp(…)` in place of `q.clamp_(…)`)"
    )
