"""Interventions: change chosen neurons at every token while a context lasts.

`intervene` hooks the linear modules that hold the neurons and changes those columns of their output in
place. A linear that holds several modules (fused projections) or neurons of several sets gets one hook and is
touched once per forward pass. Only the chosen columns are read and written, the rest of the output is not
copied; weights are untouched, and leaving the context, by whatever way, removes the hooks.

Four changes, `a` being the activation: scale (`factor · a`; 0 suppresses, to exactly 0 whatever `a` held),
set (a value per neuron, such as its mean), resample from given values (each item gets one of the rows), and
resample from the batch (each item gets the neuron's values of another item, token by token).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from culnig.errors import InputError

if TYPE_CHECKING:
    import torch

    from culnig.core.neurons import Layout
    from culnig.models.base import BoundLinear, BoundModel


class Placed(Protocol):
    """Anything that knows its flat positions in a layout, such as a neuron set."""

    def flat(self, layout: Layout) -> NDArray[np.int64]:
        """Flat positions."""


Neurons: TypeAlias = "Placed | NDArray[np.int64]"
"""A neuron set, or an array of flat positions."""


@dataclass(frozen=True)
class Scale:
    """Multiply the activations by `factor` at every token."""

    neurons: Neurons
    factor: float = 0.0
    """0 suppresses, 2 enhances; any finite number."""


@dataclass(frozen=True)
class SetTo:
    """Replace the activations by one value per neuron at every token: mean ablation, given the means."""

    neurons: Neurons
    values: NDArray[np.float64]
    """Shape (neuron,), in the order of the neurons."""


@dataclass(frozen=True)
class Resample:
    """Replace the activations by those that other inputs had.

    With `values`, each item of a batch gets one of the rows at all its tokens, drawn by `seed`. Without, it
    gets the values of another item of its batch at the same token: batches of one item are refused, and
    where the other item is shorter its padding is used, so give items of like length or give `values`.
    """

    neurons: Neurons
    values: NDArray[np.float64] | None = None
    """Shape (sample, neuron), or None to take them from the batch."""
    seed: int = 0
    rows: Callable[[int], NDArray[np.int64]] | None = None
    """The row of `values` of each item of a batch of so many items; None: drawn by `seed`."""


Change = Scale | SetTo | Resample


@contextlib.contextmanager
def intervene(
    bound: BoundModel, neurons: Neurons | Change | Sequence[Neurons | Change], factor: float = 0.0
) -> Iterator[None]:
    """Change the activations of neurons at every token, inside the context.

    `neurons` is a neuron set or an array of flat positions, whose activations are multiplied by `factor`, or
    a change (`Scale`, `SetTo`, `Resample`); or several of them, which are made in their order. A neuron in
    several scales is scaled by all; contexts nest in the same way. InputError where a factor or value is not
    finite, a position is outside the layout or listed twice, or values do not fit the neurons.
    """
    several = neurons if isinstance(neurons, Sequence) else [neurons]
    placed = [_placed(bound, _change(one, factor)) for one in several]
    with contextlib.ExitStack() as stack:
        for linear in bound.linears:
            parts = [part for change in placed if (part := change.within(linear)) is not None]
            if parts:
                handle = linear.linear.register_forward_hook(_changing(parts), prepend=True)
                stack.callback(handle.remove)
        yield


@dataclass(frozen=True)
class _Placed:
    """A change with its flat positions."""

    change: Change
    flat: NDArray[np.int64]

    def within(self, linear: BoundLinear) -> _Part | None:
        """What of it lies in a linear, or None."""
        found, columns = [], []
        for piece in linear.slices:
            start, width = piece.segment.start, piece.segment.width
            (inside,) = np.nonzero((self.flat >= start) & (self.flat < start + width))
            found.append(inside)
            columns.append(piece.places(self.flat[inside] - start))
        order = np.concatenate(found)
        return _Part(self.change, order, np.concatenate(columns)) if order.size else None


@dataclass(frozen=True)
class _Part:
    """A change within one linear."""

    change: Change
    order: NDArray[np.int64]
    """Places of these neurons among the neurons of the change."""
    columns: NDArray[np.int64]
    """Columns of the linear's output that hold them."""


def _change(what: Neurons | Change, factor: float) -> Change:
    if isinstance(what, Scale | SetTo | Resample):
        return what
    if isinstance(what, np.ndarray) or callable(getattr(what, "flat", None)):
        return Scale(what, factor)
    raise InputError(
        f"{what!r} is neither a neuron set, an array of flat positions, nor a change; a single array of "
        "positions is numpy.array([…])"
    )


def _placed(bound: BoundModel, change: Change) -> _Placed:
    flat = change.neurons if isinstance(change.neurons, np.ndarray) else change.neurons.flat(bound.layout)
    if flat.size and not (flat.min() >= 0 and flat.max() < bound.layout.n_neurons):
        raise InputError(f"a neuron lies outside the layout of {bound.layout.n_neurons:,} neurons")
    if len(np.unique(flat)) != len(flat):
        raise InputError("a neuron is listed twice in one change; name each once")
    if isinstance(change, Scale):
        if not np.isfinite(change.factor):
            raise InputError(f"factor {change.factor} is not a finite number; 0 suppresses, 2 enhances")
    elif change.values is not None:
        samples = isinstance(change, Resample)
        values = np.asarray(change.values)
        if values.shape[samples:] != flat.shape or (samples and not (values.ndim == 2 and len(values))):
            raise InputError(
                f"values of shape {values.shape} do not fit {len(flat)} neurons; expected "
                f"{'(sample, neuron)' if samples else '(neuron,)'} with {len(flat)} neurons"
            )
        if not np.isfinite(values).all():
            raise InputError("some values are not finite; give each neuron a finite number")
    return _Placed(change, flat)


def _changing(parts: Sequence[_Part]) -> Callable[[Any, Any, torch.Tensor], None]:
    import torch

    steps = [(torch.from_numpy(part.columns), _step(part)) for part in parts]

    def change(module: Any, inputs: Any, output: torch.Tensor) -> None:
        for places, step in steps:
            columns = places.to(output.device)
            if step is None:
                output.index_fill_(-1, columns, 0.0)
            else:
                output[..., columns] = step(output[..., columns])

    return change


def _step(part: _Part) -> Callable[[torch.Tensor], torch.Tensor] | None:
    """New values of the chosen columns from their old ones, (item, token, column); None for exactly 0."""
    import torch

    change = part.change
    if isinstance(change, Scale):
        factor = change.factor
        return (lambda old: old * factor) if factor != 0 else None
    if isinstance(change, Resample) and change.values is None:
        seed = change.seed
        return lambda old: old.index_select(0, _others(len(old), seed).to(old.device))
    given = torch.from_numpy(np.asarray(change.values, dtype=np.float64)[..., part.order])

    def replaced(old: torch.Tensor) -> torch.Tensor:
        values = given
        if given.ndim == 2:
            assert isinstance(change, Resample)
            if change.rows is not None:
                rows = change.rows(len(old))
            else:
                rows = np.random.default_rng(change.seed).integers(len(given), size=len(old))
            values = given[torch.from_numpy(rows)].reshape(len(old), *[1] * (old.ndim - 2), -1)
        return values.to(old).expand(old.shape)

    return replaced


def _others(n_items: int, seed: int) -> torch.Tensor:
    """For each item of a batch another one; the same for every module and pass of a batch of that size."""
    import torch

    if n_items < 2:
        raise InputError(
            "a batch of one item has no other item to resample from; use larger batches or give values"
        )
    shift = 1 + int(np.random.default_rng(seed).integers(n_items - 1))
    return (torch.arange(n_items) + shift) % n_items
