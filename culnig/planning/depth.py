"""Traces of a few layers that stand for all of them.

Where every layer of a decoder is built alike, memory and arithmetic grow by the same amount with each layer.
So a trace runs with two, three and four layers, and is extrapolated if both steps are equal. In every other
model (layers that alternate between kinds of attention, experts in some layers) the whole model is traced.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from culnig.models.base import BoundModel

if TYPE_CHECKING:
    from torch import nn

DEPTHS = (2, 3, 4)
_NUMBERING = ("idx", "layer_id", "layer_number", "layer_index")
"""Ends of the names of attributes that only count the layers."""


@dataclass(frozen=True)
class _Stack:
    """The list of a decoder's layers, and the module that holds it."""

    parent: nn.Module
    name: str
    layers: nn.ModuleList


def over_all_layers(skeleton: BoundModel, trace: Callable[[], int]) -> int:
    """What `trace` counts on the whole skeleton, from shallow copies of it where its layers are alike."""
    stack = _stack_of(skeleton)
    if stack is None or len(stack.layers) <= sum(DEPTHS) or not _alike(stack.layers):
        return trace()
    counts = []
    for depth in DEPTHS:
        with _cut_to(stack, depth):
            counts.append(trace())
    step, next_step = counts[1] - counts[0], counts[2] - counts[1]
    if step != next_step:
        return trace()
    return counts[0] + step * (len(stack.layers) - DEPTHS[0])


def _stack_of(skeleton: BoundModel) -> _Stack | None:
    """The list in which each layer holds the neurons of one layer of the layout."""
    from torch import nn

    layer_of = {id(bound.linear): bound.slices[0].segment.layer for bound in skeleton.linears}
    for parent in skeleton.model.modules():
        for name, layers in parent.named_children():
            if isinstance(layers, nn.ModuleList) and len(layers) == skeleton.layout.n_layers:
                numbers = [{layer_of.get(id(part), -1) for part in layer.modules()} for layer in layers]
                if all(number - {-1} == {index} for index, number in enumerate(numbers)):
                    return _Stack(parent, name, layers)
    return None


@contextlib.contextmanager
def _cut_to(stack: _Stack, depth: int) -> Iterator[None]:
    """Only the first layers inside; all layers again afterwards."""
    from torch import nn

    setattr(stack.parent, stack.name, nn.ModuleList(list(stack.layers)[:depth]))
    try:
        yield
    finally:
        setattr(stack.parent, stack.name, stack.layers)


def _alike(layers: nn.ModuleList) -> bool:
    """Whether all layers have the same modules, with the same settings and weights of the same shapes."""
    first, *later = (_built(layer) for layer in layers)
    return all(layer == first for layer in later)


def _built(layer: nn.Module) -> list[Any]:
    """Everything that a layer is built from, apart from its number."""
    modules = [
        (
            name,
            type(module),
            {
                key: value
                for key, value in vars(module).items()
                if isinstance(value, bool | int | float | str | None) and not key.endswith(_NUMBERING)
            },
        )
        for name, module in layer.named_modules()
    ]
    weights = [*layer.named_parameters(), *layer.named_buffers()]
    return [modules, [(name, weight.shape, weight.dtype) for name, weight in weights]]
