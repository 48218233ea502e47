"""Gradients against finite differences: if an activation changes, P(gold) must follow the gradient.

In each module of the first and last layer, the activation of the neuron and token with the largest
contribution is changed by ±h and ±h/2. Richardson's combination of the two central differences has an error
of order h⁴, so h can be large enough for the difference to exceed the noise of float32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from culnig.core.neurons import Segment
from culnig.inference.answers import AnswerReader, gold_probabilities
from culnig.inference.batches import Batch
from culnig.inference.encoding import Encoder
from culnig.models.base import BoundModel, BoundSlice
from culnig.scoring.capture import Capture
from culnig.verification.checks import Check, is_quantized
from culnig.verification.passes import Passes
from culnig.verification.probes import batch_of, probe_items

STEP = 0.1
"""h, relative to the module's mean absolute activation."""
TOLERANCE = 0.05
"""Largest relative error, in the median over modules, of the finite differences."""
NOISE = 4 * 16 * torch.finfo(torch.float32).eps
"""Change of P(gold), relative to it, that may be rounding error: four passes, float32 logits of up to 16."""


Hook = Callable[[Any, Any, torch.Tensor], None]
"""A forward hook: module, inputs and output."""


def check_gradients(passes: Passes) -> Check:
    """Gradients of the capture equal finite differences of P(gold) on sampled neurons."""
    name, bound = "gradients", passes.bound
    if is_quantized(bound):
        return Check(
            name, None, "not applicable to quantized weights, whose rounding errors exceed finite differences"
        )
    if bound.sharding is not None and bound.model.dtype != torch.float32:
        return Check(name, None, "not applicable to weights in half precision that are spread over processes")
    with _float32(bound.model):
        batch = batch_of(Encoder(bound).encode(probe_items()[0]))
        pairs, p_gold = _pairs(bound, batch)
        _, chosen = _moved(bound, batch)
        expected, measured, steps = [], [], []
        for linear in bound.linears:
            for part in linear.slices:
                if part.segment.layer not in (0, bound.layout.n_layers - 1):
                    continue
                activation, gradient = (tensor[0] for tensor in pairs[part.segment])
                largest = int((activation * gradient).abs().argmax())
                token, index = divmod(largest, part.segment.width)
                step = STEP * float(activation.abs().mean())
                expected.append(float(gradient[token, index]))
                moved = partial(_moved, bound, batch, linear.linear)
                measured.append(_slope(moved, chosen, part, token, index, step))
                steps.append(step)
    gradients, slopes = torch.tensor(expected).double(), torch.tensor(measured).double()
    # where neither of both can be told from rounding errors, nothing was measured
    told = torch.maximum(gradients.abs(), slopes.abs()) * torch.tensor(steps) > NOISE * p_gold
    if not told.any():
        return Check(name, None, "P(gold) follows no neuron by more than its rounding errors")
    gradients, slopes = gradients[told], slopes[told]
    # relative errors, so that modules with small gradients count as much as others
    errors = ((slopes - gradients) / gradients).abs()
    error, worst = float(errors.median()), float(errors.max())
    return Check(
        name,
        error <= TOLERANCE and worst <= 10 * TOLERANCE,
        f"{len(slopes)} neurons: relative error of finite differences {error:.1e} (median), {worst:.1e} "
        "(largest)",
    )


def _pairs(bound: BoundModel, batch: Batch) -> tuple[dict[Segment, tuple[torch.Tensor, torch.Tensor]], float]:
    """Activation and gradient (item, token, neuron) of every segment, and P(gold), from one backward pass."""
    pairs: dict[Segment, tuple[torch.Tensor, torch.Tensor]] = {}

    def keep(segment: Segment, activation: torch.Tensor, gradient: torch.Tensor) -> None:
        pairs[segment] = (activation.float().clone(), gradient.float().clone())

    with AnswerReader(bound) as reader, Capture(bound, keep):
        p_gold = gold_probabilities(batch, reader.logits(batch).softmax(-1)).sum()
        p_gold.backward()  # type: ignore[no-untyped-call]
    return pairs, float(p_gold.detach())


def _slope(
    moved: Callable[[Hook], tuple[float, list[torch.Tensor]]],
    unmoved: list[torch.Tensor],
    part: BoundSlice,
    token: int,
    index: int,
    step: float,
) -> float:
    """dP(gold)/da of one neuron at one token, from four forward passes with its module moved.

    `unmoved` is what is chosen without a move.
    A step that changes a choice, such as that of a token's experts or of the tokens that it attends to, leaps
    from one smooth piece of the model to another, so a smaller one is taken.
    """
    column = int(part.columns(np.array([index]))[0])
    for own in (step, step / 4, step / 16, step / 64):
        moves = [_moving(token, column, by) for by in (own, -own, own / 2, -own / 2)]
        values = [moved(move) for move in moves]
        if all(all(map(torch.equal, chosen, unmoved)) for _, chosen in values):
            break
    up, down, half_up, half_down = (p_gold for p_gold, _ in values)
    return (4 * (half_up - half_down) / own - (up - down) / (2 * own)) / 3


def _moved(
    bound: BoundModel, batch: Batch, linear: Any = None, move: Hook | None = None
) -> tuple[float, list[torch.Tensor]]:
    """P(gold) and what was chosen, with an activation of a module moved."""
    with ExitStack() as stack, torch.inference_mode(), AnswerReader(bound) as reader, _Choices() as seen:
        if move is not None:
            stack.callback(linear.register_forward_hook(move).remove)
        probabilities = reader.logits(batch).double().softmax(-1)
    return float(gold_probabilities(batch, probabilities)[0]), seen.chosen


class _Choices(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes what a forward pass chooses by the largest k: experts, or tokens to attend to."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.chosen: list[torch.Tensor] = []
        """The indices of each choice, ascending."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        if function is torch.ops.aten.topk.default:
            self.chosen.append(result[1].sort(dim=-1).values)
        return result


def _moving(token: int, column: int, by: float) -> Hook:
    def move(module: Any, inputs: Any, output: torch.Tensor) -> None:
        find = getattr(module, "cell", None)
        cell = (token, column) if find is None else find(inputs[1], token, column)
        output.reshape(-1, output.shape[-1])[cell] += by  # a view, since the batch has one item

    return move


@contextmanager
def _float32(model: torch.nn.Module) -> Iterator[None]:
    """Convert half-precision weights and buffers to float32, and back exactly afterwards."""
    tensors = [*model.parameters(), *model.buffers()]
    halves = [(tensor, tensor.dtype) for tensor in tensors if tensor.dtype in (torch.float16, torch.bfloat16)]
    for tensor, _ in halves:
        tensor.data = tensor.data.float()
    try:
        yield
    finally:
        for tensor, dtype in halves:
            tensor.data = tensor.data.to(dtype)
