"""Traces of a few layers that stand for all of them, or for the layers that one of several devices holds.

Where the layers of a decoder are built alike, or every n-th of them (Gemma 3: five with a sliding window,
then one without), memory and arithmetic grow by the same amount with every n layers. Some first layers may
be built otherwise (DeepSeek, GLM: without experts). So three traces run, with few layers, n more and 2n
more, and are extrapolated if both steps are equal. The few are those first ones and n or more: fewer lack a
kind of layer, and what all layers of that kind share. In every other model all layers asked for are traced.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from culnig.models.base import BoundModel

if TYPE_CHECKING:
    from torch import nn

FEWEST = 2
"""Layers of the shortest trace."""
_NUMBERING = ("idx", "layer_id", "layer_number", "layer_index")
"""Ends of the names of attributes that only count the layers."""


@dataclass(frozen=True)
class Stack:
    """The list of a decoder's layers, and the module that holds it."""

    parent: nn.Module
    name: str
    layers: nn.ModuleList


def over_all_layers(skeleton: BoundModel, trace: Callable[[], int]) -> int:
    """What `trace` counts on the whole skeleton, from shallow copies of it where its layers are alike."""
    return over_layers(skeleton, trace, [skeleton.layout.n_layers])[0]


def over_layers(skeleton: BoundModel, trace: Callable[[], int], depths: Sequence[int]) -> list[int]:
    """What `trace` counts with the first layers of the skeleton only, for each number of them in `depths`."""
    stack = stack_of(skeleton)
    if stack is None:
        return [trace()] * len(depths)
    start, period = _repetition(stack.layers)
    counts: dict[int, int] = {}

    def count(depth: int) -> int:
        if depth not in counts:
            with _cut_to(stack, depth):
                counts[depth] = trace()
        return counts[depth]

    def extrapolated(depth: int) -> int:
        fewest = start + max(FEWEST, period)
        fewest += (depth - fewest) % period
        few = [fewest, fewest + period, fewest + 2 * period]
        if sum(few) < depth:
            first, second, third = map(count, few)
            if second - first == third - second:
                return first + (second - first) * ((depth - fewest) // period)
        return count(depth)

    return [extrapolated(depth) for depth in depths]


def stack_of(skeleton: BoundModel) -> Stack | None:
    """The list in which each layer holds the neurons of one layer of the layout."""
    from torch import nn

    layer_of = {id(bound.linear): bound.slices[0].segment.layer for bound in skeleton.linears}
    for parent in skeleton.model.modules():
        for name, layers in parent.named_children():
            if isinstance(layers, nn.ModuleList) and len(layers) == skeleton.layout.n_layers:
                numbers = [{layer_of.get(id(part), -1) for part in layer.modules()} for layer in layers]
                if all(number - {-1} == {index} for index, number in enumerate(numbers)):
                    return Stack(parent, name, layers)
    return None


@contextlib.contextmanager
def _cut_to(stack: Stack, depth: int) -> Iterator[None]:
    """Only the first layers inside; all layers again afterwards."""
    from torch import nn

    setattr(stack.parent, stack.name, nn.ModuleList(list(stack.layers)[:depth]))
    try:
        yield
    finally:
        setattr(stack.parent, stack.name, stack.layers)


def _repetition(layers: nn.ModuleList) -> tuple[int, int]:
    """From which layer on, and at which distance, layers have the same modules, settings and weights' shapes.

    Of all answers the one whose traces have the fewest layers.
    """
    built = [_built(layer) for layer in layers]
    kinds = [built.index(own) for own in built]
    return min(((start, _period(kinds[start:])) for start in range(len(kinds))), key=lambda own: sum(own))


def _period(kinds: list[int]) -> int:
    """The smallest distance at which all are alike."""
    return next(n for n in range(1, len(kinds) + 1) if kinds[n:] == kinds[:-n])


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
