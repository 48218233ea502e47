"""How long scoring will take at least, before the first batch is measured.

The arithmetic is that of `plan`; the speed is that of one product with the model's largest matrix, which
nothing that the model computes exceeds.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch
from torch import nn

from culnig.core.processes import Processes
from culnig.core.progress import Say
from culnig.core.quantities import number
from culnig.core.text import counted, time_text
from culnig.inference.batches import DEFAULT_TOKEN_BUDGET
from culnig.inference.products import fast_products
from culnig.models.base import BoundModel
from culnig.planning.work import BenchmarkSize, run_flops

WORTH_SAYING = 5.0
"""Seconds below which nothing is said."""
_SMALL = 1e11
"""Operations that take no time worth measuring; counted roughly, by parameters and tokens."""
_PASSES = 4
"""Operations of a parameter and token: a multiplication and an addition, forward and backward."""
_REPEATS = 3


def announce_time(
    say: Say, bound: BoundModel, sizes: Sequence[BenchmarkSize], token_budget: int, processes: Processes
) -> None:
    """Say the least time of a long run; nothing of a model that is spread out or was not loaded by name."""
    n_tokens = sum(size.n_tokens for size in sizes)
    n_parameters = sum(weight.numel() for weight in bound.model.parameters())
    devices = {weight.device for weight in bound.model.parameters()}
    is_small = _PASSES * n_parameters * n_tokens < _SMALL
    if bound.skeleton is None or bound.sharding is not None or len(devices) != 1 or is_small:
        return
    speed = product_speed(bound, min(token_budget, n_tokens))
    if speed is None:
        return
    seconds = run_flops(bound.skeleton, sizes) / speed / processes.of
    if seconds >= WORTH_SAYING:
        n_items = sum(len(size.lengths) for size in sizes)
        say(
            f"{counted(n_items, 'item')}, {n_tokens:,} tokens: at least {time_text(seconds)}, the time of "
            f"the matrix products alone at {number(speed / 1e9)} GFLOP/s"
        )


def product_speed(bound: BoundModel, n_tokens: int) -> float | None:
    """Operations a second of a batch's product with the largest matrix of a layer; None if none is plain."""
    plain = [own.linear for own in bound.linears if type(own.linear) is nn.Linear]
    linear = max(plain, key=lambda own: own.weight.numel(), default=None)
    if linear is None:
        return None
    rows = max(1, min(n_tokens, DEFAULT_TOKEN_BUDGET))
    weight = linear.weight
    inputs = torch.ones(rows, linear.in_features, dtype=weight.dtype, device=weight.device)
    with fast_products(bound.model), torch.inference_mode():
        times = [_seconds(linear, inputs) for _ in range(1 + _REPEATS)]
    return 2 * rows * weight.numel() / min(times[1:])  # the first product prepares those that follow


def _seconds(linear: nn.Linear, inputs: torch.Tensor) -> float:
    begin = time.perf_counter()
    linear(inputs)
    if inputs.is_cuda:
        torch.cuda.synchronize(inputs.device)
    return max(time.perf_counter() - begin, 1e-9)
