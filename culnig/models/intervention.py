"""Interventions: change chosen neurons at every token while a context lasts.

`intervene` hooks the linear modules that hold the neurons and changes those columns of their output, in
place except where gradients are on. What the layer does with the output, in place or not, comes after. A
linear that holds several modules (fused projections) or neurons of several sets gets one hook. Only the
chosen columns are read and written, and weights are untouched. Leaving the context removes the hooks, also
after an error.

There are four changes of an activation `a`: scale (`factor · a`; 0 suppresses, to exactly 0 whatever `a`
was), set (a value per neuron, such as its mean), resample from given values (each item gets one of the rows),
and resample from the batch (each item gets the neuron's values of another item, token by token).
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
    from culnig.models.base import BoundModel


class HasNeurons(Protocol):
    """Anything that knows the flat indices of its neurons in a layout, such as a neuron set."""

    def flat(self, layout: Layout) -> NDArray[np.int64]:
        """Flat indices."""


Neurons: TypeAlias = "HasNeurons | NDArray[np.int64]"
"""A neuron set, or an array of flat indices."""


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
    """Replace the activations by those of other inputs.

    With `values`, each item of a batch gets one of the rows at all its tokens, drawn by `seed`. Without, it
    gets the values of another item of its batch at the same token: batches of one item are an error, and
    the padding of a shorter item is used, so give items of similar length or give `values`.
    """

    neurons: Neurons
    values: NDArray[np.float64] | None = None
    """Shape (sample, neuron), or None to take them from the batch."""
    seed: int = 0
    rows: Callable[[int], NDArray[np.int64]] | None = None
    """Called with the number of items of a batch, gives each its row of `values`; None draws by `seed`."""


Change = Scale | SetTo | Resample
Step: TypeAlias = "Callable[[torch.Tensor], torch.Tensor]"


@contextlib.contextmanager
def intervene(
    bound: BoundModel, neurons: Neurons | Change | Sequence[Neurons | Change], factor: float = 0.0
) -> Iterator[None]:
    """Change the activations of neurons at every token, inside the context.

    `neurons` is a neuron set or an array of flat indices, whose activations are multiplied by `factor`, or
    a change (`Scale`, `SetTo`, `Resample`); or a list of them, applied in order. A neuron in several scales
    is scaled by all; nested contexts do the same. InputError if a factor or value is not finite, an index is
    outside the layout or listed twice, or values do not fit the neurons.
    """
    changes = [_change(each, factor) for each in (neurons if isinstance(neurons, Sequence) else [neurons])]
    with_indices = [(change, _flat_indices(bound, change)) for change in changes]
    with contextlib.ExitStack() as stack:
        for linear in bound.linears:
            own = [(change, *linear.find(flat)) for change, flat in with_indices]
            steps = [(columns, _step(change, order)) for change, order, columns in own if order.size]
            if steps:
                hook = _changing_rows(steps, stack, bound) if linear.is_routed else _changing(steps)
                stack.callback(linear.linear.register_forward_hook(hook, prepend=True).remove)
        yield


def _change(neurons: Neurons | Change, factor: float) -> Change:
    if isinstance(neurons, Scale | SetTo | Resample):
        return neurons
    if isinstance(neurons, np.ndarray) or callable(getattr(neurons, "flat", None)):
        return Scale(neurons, factor)
    raise InputError(
        f"{neurons!r} is not a neuron set, an array of flat indices or a change; give one neuron as "
        "numpy.array([INDEX])"
    )


def _flat_indices(bound: BoundModel, change: Change) -> NDArray[np.int64]:
    """Flat indices of a change's neurons, after all checks of the change."""
    flat = change.neurons if isinstance(change.neurons, np.ndarray) else change.neurons.flat(bound.layout)
    bound.check_neurons(flat)
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
    return flat


def _changing(
    steps: Sequence[tuple[NDArray[np.int64], Step | None]],
) -> Callable[[Any, Any, torch.Tensor], torch.Tensor]:
    """A forward hook that takes each step for its columns of the output."""
    import torch

    on_columns = [(torch.from_numpy(columns), step) for columns, step in steps]

    def change(module: Any, inputs: Any, output: torch.Tensor) -> torch.Tensor:
        if output.requires_grad:
            output = output.clone()  # autograd forbids changing the outputs of quantized modules in place
        for host_columns, step in on_columns:
            columns = host_columns.to(output.device)
            if step is None:
                output.index_fill_(-1, columns, 0.0)
            else:
                output[..., columns] = step(output[..., columns])
        return output

    return change


def _changing_rows(
    steps: Sequence[tuple[NDArray[np.int64], Step | None]], stack: contextlib.ExitStack, bound: BoundModel
) -> Callable[[Any, Any, torch.Tensor], torch.Tensor]:
    """The same for the rows of experts, at the tokens that were routed to the neuron's expert.

    Where an item's token was not routed there, its activation counts as zero for other items.
    """
    import torch

    shape: list[torch.Size] = []

    def note(module: Any, inputs: Any, output: torch.Tensor) -> None:
        shape[:] = [output.shape[:2]]

    stack.callback(bound.model.get_input_embeddings().register_forward_hook(note).remove)

    def change(module: Any, inputs: Any, output: torch.Tensor) -> torch.Tensor:
        rows, routed = output.clone() if output.requires_grad else output, inputs[1]
        for host_columns, step in steps:
            columns = torch.from_numpy(host_columns).to(output.device)
            expert, column = columns // module.n_columns, columns % module.n_columns
            row, neuron = (routed.expert[:, None] == expert).nonzero(as_tuple=True)
            at = row, column[neuron]
            if step is None:
                rows[at] = 0.0
                continue
            values = rows.new_zeros((routed.n_tokens, len(columns)))
            values[routed.token[row], neuron] = rows[at]
            changed = step(values.view(*shape[0], -1)).reshape(values.shape)
            rows[at] = changed[routed.token[row], neuron]
        return rows

    return change


def _step(change: Change, order: NDArray[np.int64]) -> Step | None:
    """New values of some columns from their old ones, (item, token, column); None for exactly 0.

    `order` says which neurons of the change these columns are.
    """
    import torch

    if isinstance(change, Scale):
        factor = change.factor
        return (lambda old: old * factor) if factor != 0 else None
    if isinstance(change, Resample) and change.values is None:
        seed = change.seed
        return lambda old: old.index_select(0, _other_items(len(old), seed).to(old.device))
    given = torch.from_numpy(np.asarray(change.values, dtype=np.float64)[..., order])

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


def _other_items(n_items: int, seed: int) -> torch.Tensor:
    """For each item of a batch another item; the same for every module and pass of a batch of that size."""
    import torch

    if n_items < 2:
        raise InputError(
            "a batch of one item has no other item to resample from; use larger batches or give values"
        )
    shift = 1 + int(np.random.default_rng(seed).integers(n_items - 1))
    return (torch.arange(n_items) + shift) % n_items
