"""Interventions: scale chosen neurons at every token while a context lasts.

`intervene` hooks the linear modules that hold the neurons and scales those columns of their output in
place (factor 0 sets them to exactly 0, whatever they held). Nothing is cloned, weights are untouched, and
leaving the context, by whatever way, removes the hooks.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from culnig.errors import InputError

if TYPE_CHECKING:
    import torch

    from culnig.bound import BoundLinear, BoundModel
    from culnig.neurons import Layout


class Placed(Protocol):
    """Anything that knows its flat positions in a layout, such as a neuron set."""

    def flat(self, layout: Layout) -> NDArray[np.int64]:
        """Flat positions."""


@contextlib.contextmanager
def intervene(bound: BoundModel, neurons: Placed | NDArray[np.int64], factor: float = 0.0) -> Iterator[None]:
    """Multiply the activations of `neurons` by `factor` at every token, inside the context.

    `neurons` is a neuron set or an array of flat positions. Contexts nest: factors of a neuron in several
    sets multiply. InputError where factor is not finite or a position is outside the layout.
    """
    if not np.isfinite(factor):
        raise InputError(f"factor {factor} is not a finite number; 0 suppresses, 2 enhances")
    flat = neurons if isinstance(neurons, np.ndarray) else neurons.flat(bound.layout)
    if flat.size and not (flat.min() >= 0 and flat.max() < bound.layout.n_neurons):
        raise InputError(f"a neuron lies outside the layout of {bound.layout.n_neurons:,} neurons")
    with contextlib.ExitStack() as stack:
        for linear in bound.linears:
            columns = _columns(linear, flat)
            if columns.size:
                handle = linear.linear.register_forward_hook(_scaling(columns, factor), prepend=True)
                stack.callback(handle.remove)
        yield


def _columns(linear: BoundLinear, flat: NDArray[np.int64]) -> NDArray[np.int64]:
    """Columns of a linear's output that hold any of the flat positions."""
    found = []
    for piece in linear.slices:
        start, width = piece.segment.start, piece.segment.width
        inside = flat[(flat >= start) & (flat < start + width)]
        found.append(piece.places(inside - start))
    return np.unique(np.concatenate(found))


def _scaling(columns: NDArray[np.int64], factor: float) -> Callable[[Any, Any, torch.Tensor], None]:
    import torch

    places = torch.from_numpy(columns)

    def scale(module: Any, inputs: Any, output: torch.Tensor) -> None:
        index = places.to(output.device)
        if factor == 0:
            output.index_fill_(-1, index, 0.0)
        else:
            output[..., index] = output[..., index] * factor

    return scale
