"""Where a forward pass first produced a value that is not finite. Runs only when an answer is NaN."""

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
    errors: list[NonFiniteError] = []
    mask = batch.token_mask

    def checking(linear: BoundLinear) -> Callable[[Any, Any, torch.Tensor], None]:
        def check(module: Any, inputs: Any, output: torch.Tensor) -> None:
            for bound_slice in linear.slices if not errors else ():
                values = bound_slice.take(linear.output(inputs, output))
                finite = values.isfinite().cpu().numpy().reshape(*mask.shape, -1)
                wrong = ~finite & mask[..., None]
                if wrong.any():
                    item, token, neuron = (int(index) for index in np.argwhere(wrong)[0])
                    segment = bound_slice.segment
                    where = f"{segment.module}, layer {segment.layer} (item {batch.item_ids[item]})"
                    errors.append(
                        NonFiniteError(
                            int(wrong.sum()), item, token, neuron, values="activations", where=where
                        )
                    )
                    return

        return check

    import torch

    with contextlib.ExitStack() as stack, torch.inference_mode():
        for linear in bound.linears:
            stack.callback(linear.linear.register_forward_hook(checking(linear)).remove)
        reader.logits(batch)
    return errors[0] if errors else _after_the_layers(batch)


def _after_the_layers(batch: Batch) -> NonFiniteError:
    where = f"the output head (item {batch.item_ids[0]} or another of its batch)"
    return NonFiniteError(1, 0, int(batch.lengths[0]) - 1, 0, values="answer probabilities", where=where)
