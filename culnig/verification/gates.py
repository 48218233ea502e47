"""Gate and up projection of an MLP are not mixed up.

What a gated MLP multiplies is linear in its up projection, and not in its gate, which goes through the
activation function first. So the up projection is scaled in one layer, with all before it as it was: from
nothing to once it changes the product by as much as from once to twice.
"""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import torch

from culnig.core.neurons import MLP_GATE, MLP_UP
from culnig.inference.answers import AnswerReader
from culnig.inference.batches import Batch
from culnig.models.base import BoundModel
from culnig.models.intervention import intervene
from culnig.verification.checks import Check, is_quantized
from culnig.verification.passes import Passes
from culnig.verification.probes import batch_of

LINEAR = {torch.float32: 1e-4}
ROUNDED_LINEAR = 0.02
"""Largest difference of the two changes, relative to the largest product, that is linear."""


class _Read(Exception):
    """The product is read, so the rest of the pass is not needed."""


def check_gates(passes: Passes) -> Check:
    """The MLP of the first layer that has a gate is linear in its up projection, and not in its gate."""
    name, bound = "gate and up projection", passes.bound
    layers = [own.layer for own in bound.layout.segments if own.module == MLP_UP]
    if not layers:
        return Check(name, None, "the model has no gated MLP")
    batch = batch_of(passes.batch.items[0])
    up, gate = (_curvature(bound, batch, module, layers[0]) for module in (MLP_UP, MLP_GATE))
    if np.isnan(up):
        return Check(name, None, f"the product in layer {layers[0]} is zero for the text that was tried")
    limit = ROUNDED_LINEAR if is_quantized(bound) else LINEAR.get(bound.model.dtype, ROUNDED_LINEAR)
    return Check(
        name,
        up <= limit < gate,
        f"in layer {layers[0]}, the product departs from a line by {up:.1e} of its largest value in the up "
        f"projection, by {gate:.1e} in the gate",
    )


def _curvature(bound: BoundModel, batch: Batch, module: str, layer: int) -> float:
    """How far the product is from linear in a module, relative to its largest value; NaN where it is 0."""
    segment = bound.layout.segment(module, layer)
    flat = np.arange(segment.start, segment.start + segment.width)
    none, once, twice = (_product(bound, batch, layer, flat, factor) for factor in (0.0, 1.0, 2.0))
    return float((twice - 2 * once + none).abs().max() / once.abs().max())


def _product(bound: BoundModel, batch: Batch, layer: int, flat: Any, factor: float) -> torch.Tensor:
    """What the next module with weights reads once gate and up projection of a layer have run."""
    projections = {
        linear.linear
        for linear in bound.linears
        if linear.slices[0].segment.layer == layer
        and {own.segment.module for own in linear.slices} & {MLP_GATE, MLP_UP}
    }
    ran: set[torch.nn.Module] = set()
    read: list[torch.Tensor] = []

    def note(module: torch.nn.Module, inputs: Any, output: Any) -> None:
        ran.add(module)

    def look(module: torch.nn.Module, inputs: Any) -> None:
        if ran >= projections and module not in projections:
            read.append(inputs[0].detach().double())
            raise _Read

    with contextlib.ExitStack() as stack, torch.inference_mode(), AnswerReader(bound) as reader:
        for module in bound.model.modules():
            if module in projections:
                stack.callback(module.register_forward_hook(note).remove)
            if any(True for _ in module.parameters(recurse=False)):
                stack.callback(module.register_forward_pre_hook(look).remove)
        with intervene(bound, flat, factor), contextlib.suppress(_Read):
            reader.logits(batch)
    if bound.sharding is not None:
        bound.sharding.begin()
    return read[0]
