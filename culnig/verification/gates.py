"""Gate and up projection of an MLP are not mixed up.

What a gated MLP multiplies is linear in its up projection, and not in its gate, which goes through the
activation function first. So the up projection is scaled in one layer, with all before it as it was: from
nothing to once it changes the product by as much as from once to twice. Products of experts are computed from
the rows that they are given, made so small that no limit of an activation function is reached.
"""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import torch

from culnig.core.neurons import EXPERTS_GATE, EXPERTS_UP, MLP_GATE, MLP_UP, SHARED_GATE, SHARED_UP
from culnig.inference.answers import AnswerReader
from culnig.inference.batches import Batch
from culnig.models.base import BoundLinear, BoundModel
from culnig.models.intervention import intervene
from culnig.verification.checks import Check, is_quantized
from culnig.verification.passes import Passes
from culnig.verification.probes import batch_of

LINEAR = {torch.float32: 1e-4}
ROUNDED_LINEAR = 0.02
"""Largest difference of the two changes, relative to the largest product, that is linear."""


KINDS = {
    "the MLP": (MLP_GATE, MLP_UP),
    "the shared experts": (SHARED_GATE, SHARED_UP),
    "the experts": (EXPERTS_GATE, EXPERTS_UP),
}
"""Gate and up projection of each kind of gated MLP."""


class _Read(Exception):
    """What was waited for is read, so the rest of the pass is not needed."""


def check_gates(passes: Passes) -> Check:
    """Every kind of gated MLP, in its first layer, is linear in its up projection, and not in its gate."""
    name, bound = "gate and up projection", passes.bound
    first: dict[str, int] = {}
    for own in bound.layout.segments:
        first.setdefault(own.module, own.layer)
    kinds = {kind: (gate, up) for kind, (gate, up) in KINDS.items() if up in first}
    if not kinds:
        return Check(name, None, "the model has no gated MLP")
    batch = batch_of(passes.batch.items[0])
    limit = ROUNDED_LINEAR if is_quantized(bound) else LINEAR.get(bound.model.dtype, ROUNDED_LINEAR)
    passed, details = True, []
    for kind, modules in kinds.items():
        layer = first[modules[1]]
        gate, up = _curvatures(bound, batch, layer, modules)
        if np.isnan(up):
            return Check(name, None, f"the product in layer {layer} is zero for the text that was tried")
        passed &= up <= limit < gate
        details.append(
            f"in layer {layer}, the product of {kind} departs from a line by {up:.1e} of its largest value "
            f"in the up projection, by {gate:.1e} in the gate"
        )
    return Check(name, passed, "; ".join(details))


def _curvatures(bound: BoundModel, batch: Batch, layer: int, modules: tuple[str, str]) -> list[float]:
    """How far the product is from linear in each module, relative to its largest value; NaN where it is 0."""
    holding = [
        linear
        for linear in bound.linears
        if linear.slices[0].segment.layer == layer
        and {own.segment.module for own in linear.slices} & set(modules)
    ]
    if holding[0].is_routed:
        rows = _rows(bound, batch, holding[0])
    curvatures = []
    for module in modules:
        if holding[0].is_routed:
            products = _products_of_experts(bound, holding[0], module, rows)
        else:
            segment = bound.layout.segment(module, layer)
            flat = np.arange(segment.start, segment.start + segment.width)
            linears = {linear.linear for linear in holding}
            products = [_product(bound, batch, linears, flat, factor) for factor in (0.0, 1.0, 2.0)]
        none, once, twice = products
        curvatures.append(float((twice - 2 * once + none).abs().max() / once.abs().max()))
    return curvatures


def _rows(bound: BoundModel, batch: Batch, linear: BoundLinear) -> torch.Tensor:
    """What a layer's experts compute before the activation function, shrunk to 1 at most, (row, column)."""
    read: list[torch.Tensor] = []

    def look(module: torch.nn.Module, inputs: Any, rows: torch.Tensor) -> None:
        read.append(rows.detach())
        raise _Read

    handle = linear.linear.register_forward_hook(look)
    with torch.inference_mode(), AnswerReader(bound) as reader, contextlib.suppress(_Read):
        reader.logits(batch)
    handle.remove()
    return read[0] / read[0].abs().max()


def _products_of_experts(
    bound: BoundModel, linear: BoundLinear, module: str, rows: torch.Tensor
) -> list[torch.Tensor]:
    """Products with a module's columns of each row taken 0, 1 and 2 times."""
    from culnig.models.experts import experts_around

    experts = experts_around(bound.model, linear.linear)
    own = next(own for own in linear.slices if own.segment.module == module)
    width = own.segment.width // own.segment.experts
    columns = torch.from_numpy(own.columns(np.arange(width))).to(rows.device)
    with torch.inference_mode():
        scaled = [rows.index_copy(1, columns, rows[:, columns] * factor) for factor in (0.0, 1.0, 2.0)]
        return [experts._apply_gate(each).double() for each in scaled]


def _product(
    bound: BoundModel, batch: Batch, projections: set[torch.nn.Module], flat: Any, factor: float
) -> torch.Tensor:
    """What the next module with weights reads once gate and up projection of a layer have run."""
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
