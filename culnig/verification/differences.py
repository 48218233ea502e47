"""Gradients against finite differences: neurons are moved by hand, and P(gold) must follow the gradient.

The strongest neuron and token of each module in the first and the last layer are moved by ±h and ±h/2;
Richardson's combination of the two central differences leaves an error of order h⁴, so h can be large enough
for the difference to stand out of float32's noise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from culnig.inference.answers import AnswerReader, gold_probabilities
from culnig.inference.batches import Batch
from culnig.inference.encoding import Encoder
from culnig.models.base import BoundModel, BoundSlice
from culnig.verification.checks import Check, captured
from culnig.verification.probes import batch_of, probe_items

STEP = 0.1
"""h in units of the module's mean activation size."""
TOLERANCE = 0.05
"""Length of (differences − gradients) over that of the gradients."""


def check_gradients(bound: BoundModel) -> Check:
    """Gradients of the capture equal finite differences of P(gold) on sampled neurons."""
    name = "gradients"
    if any(not parameter.is_floating_point() for parameter in bound.model.parameters()):
        return Check(name, None, "the weights are quantized: finite differences drown in their rounding")
    with _float32(bound.model):
        batch = batch_of(Encoder(bound).encode(probe_items()[0]))
        pairs = captured(bound, batch)
        expected, found = [], []
        for linear in bound.linears:
            for piece in linear.slices:
                if piece.segment.layer not in (0, bound.layout.n_layers - 1):
                    continue
                activation, gradient = (tensor[0] for tensor in pairs[piece.segment])
                place = int((activation * gradient).abs().argmax())
                token, index = divmod(place, piece.segment.width)
                step = STEP * float(activation.abs().mean())
                expected.append(float(gradient[token, index]))
                found.append(_slope(bound, batch, linear.linear, piece, token, index, step))
    truth, measured = torch.tensor(expected).double(), torch.tensor(found).double()
    # each module counts the same, however small its gradients
    error = float(((measured - truth) / truth).abs().median())
    worst = float(((measured - truth) / truth).abs().max())
    return Check(
        name,
        error <= TOLERANCE and worst <= 10 * TOLERANCE,
        f"{len(found)} neurons: finite differences off by {error:.1e} in the median, {worst:.1e} at most",
    )


def _slope(
    bound: BoundModel, batch: Batch, linear: Any, piece: BoundSlice, token: int, index: int, step: float
) -> float:
    """dP(gold)/da of one neuron at one token, from four forward passes."""
    import numpy as np

    column = int(piece.columns(np.array([index]))[0])

    def moved(by: float) -> float:
        handle = linear.register_forward_hook(_moving(token, column, by))
        try:
            with torch.inference_mode(), AnswerReader(bound) as reader:
                probabilities = reader.logits(batch).double().softmax(-1)
                return float(gold_probabilities(batch, probabilities)[0])
        finally:
            handle.remove()

    wide = (moved(step) - moved(-step)) / (2 * step)
    narrow = (moved(step / 2) - moved(-step / 2)) / step
    return (4 * narrow - wide) / 3


def _moving(token: int, column: int, by: float) -> Callable[[Any, Any, torch.Tensor], None]:
    def move(module: Any, inputs: Any, output: torch.Tensor) -> None:
        output.reshape(-1, output.shape[-1])[token, column] += by  # a view: the batch is one item

    return move


@contextmanager
def _float32(model: torch.nn.Module) -> Iterator[None]:
    """Half-precision weights as float32, exactly undone; the buffers that are float32 anyway stay."""
    tensors = [*model.parameters(), *model.buffers()]
    halves = [(tensor, tensor.dtype) for tensor in tensors if tensor.dtype in (torch.float16, torch.bfloat16)]
    for tensor, _ in halves:
        tensor.data = tensor.data.float()
    try:
        yield
    finally:
        for tensor, dtype in halves:
            tensor.data = tensor.data.to(dtype)
