"""Where a forward pass first stopped being finite. Runs only when an answer already is NaN."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from culnig.errors import NonFiniteError
from culnig.inference.answers import AnswerReader
from culnig.inference.batches import Batch
from culnig.models.base import BoundLinear, BoundModel

if TYPE_CHECKING:
    import torch


def non_finite_activation(bound: BoundModel, reader: AnswerReader, batch: Batch) -> NonFiniteError:
    """Forward the batch once more and describe the first activation of a real token that is not finite."""
    found: list[NonFiniteError] = []
    mask = batch.token_mask

    def looking(linear: BoundLinear) -> Callable[[Any, Any, torch.Tensor], None]:
        def look(module: Any, inputs: Any, output: torch.Tensor) -> None:
            if found:
                return
            for piece in linear.slices:
                wrong = (
                    ~piece.take(output).isfinite().cpu().numpy().reshape(*mask.shape, -1) & mask[..., None]
                )
                if wrong.any():
                    item, token, neuron = (int(place) for place in np.argwhere(wrong)[0])
                    segment, name = piece.segment, batch.items[item].item.id
                    where = f"{segment.module}, layer {segment.layer} (item {name})"
                    found.append(
                        NonFiniteError(int(wrong.sum()), item, token, neuron, what="activations", where=where)
                    )
                    return

        return look

    import torch

    with contextlib.ExitStack() as stack, torch.inference_mode():
        for linear in bound.linears:
            stack.callback(linear.linear.register_forward_hook(looking(linear)).remove)
        reader.logits(batch)
    return found[0] if found else _after_the_layers(batch)


def _after_the_layers(batch: Batch) -> NonFiniteError:
    where = f"the output head (item {batch.items[0].item.id} or one of its batch)"
    return NonFiniteError(1, 0, int(batch.lengths[0]) - 1, 0, what="answer probabilities", where=where)
