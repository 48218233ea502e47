"""Mean activations of neurons, for interventions that replace a neuron by its mean."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from culnig.bound import BoundLinear, BoundModel
from culnig.errors import InputError
from culnig.inference.answers import AnswerReader
from culnig.inference.batches import DEFAULT_TOKEN_BUDGET, make_batches
from culnig.inference.encoding import Encoder
from culnig.items import Item

if TYPE_CHECKING:
    import torch


def mean_activations(
    bound: BoundModel,
    items: Sequence[Item],
    flat: NDArray[np.int64],
    *,
    token_budget: int = DEFAULT_TOKEN_BUDGET,
) -> NDArray[np.float64]:
    """Mean activation of the neurons at `flat` over all real tokens of `items`, shape (neuron,).

    Items are those of any benchmark whose answers are labels. InputError where there is none.
    """
    if not items:
        raise InputError("no items to take means over")
    sums = np.zeros(len(flat))
    n_tokens = 0
    mask: list[torch.Tensor] = []
    with contextlib.ExitStack() as stack, AnswerReader(bound) as reader:
        for linear in bound.linears:
            order, columns = _columns(linear, flat)
            if order.size:
                hook = linear.linear.register_forward_hook(_adding(sums, order, columns, mask))
                stack.callback(hook.remove)
        import torch

        with torch.inference_mode():
            for batch in make_batches(Encoder(bound).encode_all(items), token_budget):
                mask[:] = [torch.from_numpy(batch.token_mask)]
                reader.logits(batch)
                n_tokens += int(batch.lengths.sum())
    return sums / n_tokens


def _columns(linear: BoundLinear, flat: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Places in `flat` of the neurons in a linear, and the columns of its output that hold them."""
    order, columns = [], []
    for piece in linear.slices:
        start, width = piece.segment.start, piece.segment.width
        (inside,) = np.nonzero((flat >= start) & (flat < start + width))
        order.append(inside)
        columns.append(piece.places(flat[inside] - start))
    return np.concatenate(order), np.concatenate(columns)


def _adding(
    sums: NDArray[np.float64],
    order: NDArray[np.int64],
    columns: NDArray[np.int64],
    mask: Sequence[torch.Tensor],
) -> Callable[[Any, Any, torch.Tensor], None]:
    import torch

    def add(module: Any, inputs: Any, output: torch.Tensor) -> None:
        real = mask[0].to(output.device)
        chosen = output.reshape(*real.shape, -1)[..., torch.from_numpy(columns).to(output.device)]
        sums[order] += (chosen.double() * real[..., None]).sum(dim=(0, 1)).cpu().numpy()

    return add
