"""The MLPs that relevance rules are for, and whether their product is made as the rules expect."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn

from culnig.core.neurons import (
    EXPERTS_GATE,
    EXPERTS_IN,
    EXPERTS_UP,
    MLP_GATE,
    MLP_IN,
    MLP_UP,
    SHARED_GATE,
    SHARED_IN,
    SHARED_UP,
)
from culnig.errors import BindingError, argument
from culnig.inference.relevance.steps import steps_between
from culnig.models.base import BoundLinear, BoundModel, BoundSlice

_FIRST = (MLP_GATE, EXPERTS_GATE, SHARED_GATE, MLP_IN, EXPERTS_IN, SHARED_IN)
"""Modules whose neurons go through an activation function."""
_UP = (MLP_UP, EXPERTS_UP, SHARED_UP)


@dataclass(frozen=True)
class Mlp:
    """An MLP, or the routed experts of a layer."""

    last: nn.Module
    """Reads the product."""
    first: tuple[BoundLinear, BoundSlice]
    """The gate, or the only first projection."""
    up: tuple[BoundLinear, BoundSlice] | None

    @property
    def linears(self) -> list[BoundLinear]:
        """The first projections, each once."""
        linears = [self.first[0], *([] if self.up is None else [self.up[0]])]
        return list({id(linear): linear for linear in linears}.values())

    @property
    def name(self) -> str:
        """Module and layer of the neurons that the rule is for."""
        segment = self.first[1].segment
        return f"{segment.module} of layer {segment.layer}"


def refusal(bound: BoundModel, reason: str) -> BindingError:
    """The error for a model that has a part without a rule."""
    return BindingError(
        f"model {bound.source!r} has a part without a relevance rule: {reason}. Its relevance would be half "
        f"gradient; use other {argument('scorers')}, such as log-odds"
    )


def mlps_of(bound: BoundModel) -> list[Mlp]:
    """All MLPs and expert layers of a model."""
    first: dict[nn.Module, tuple[BoundLinear, BoundSlice]] = {}
    up: dict[nn.Module, tuple[BoundLinear, BoundSlice]] = {}
    for linear in bound.linears:
        for own in linear.slices:
            of = first if own.segment.module in _FIRST else up if own.segment.module in _UP else None
            if of is None:
                continue
            if own.read_by is None:
                raise refusal(
                    bound,
                    f"adapter {bound.adapter!r} does not say what reads the product of {own.segment.module} "
                    f"in layer {own.segment.layer} (`ModuleSlice.read_by`)",
                )
            of[own.read_by] = linear, own
    if lacking := next((own for last, (_, own) in up.items() if last not in first), None):
        raise refusal(bound, f"{lacking.segment.module} of layer {lacking.segment.layer} has no gate")
    return [Mlp(last, own, up.get(last)) for last, own in first.items()]


def check_mlp(bound: BoundModel, mlp: Mlp, product: torch.Tensor, sources: list[torch.Tensor]) -> None:
    """Refuse an MLP whose product is not made neuron by neuron, or not linear in its up projection.

    `sources` are the outputs of its first projections, from which `product` was made in a forward pass.
    """
    if any(own.read_by is not mlp.last for linear in mlp.linears for own in linear.slices):
        raise refusal(bound, f"{mlp.name} shares its projection with another part")
    if not steps_between(product, sources):
        raise refusal(bound, f"the MLP of {mlp.name} is made from more than its neurons")
    width = mlp.first[1].segment.width // mlp.first[1].segment.experts
    if product.shape[-1] != width:
        raise refusal(bound, f"the MLP of {mlp.name} makes {product.shape[-1]} values from {width} neurons")
    factors = torch.tensor([1.0, -2.0, 2.0, -1.0], device=product.device, dtype=product.dtype)
    pattern = factors.repeat(width // 4 + 1)[:width].expand(product.shape)
    plain, multiplied = (  # both by the formulas of a gradient that can be differentiated again
        torch.autograd.grad(values.sum(), sources, create_graph=True)
        for values in (product, product * pattern)
    )
    slices = _slices_of(mlp, plain)
    for gradient, by_pattern in zip(slices, _slices_of(mlp, multiplied), strict=True):
        if not torch.allclose(gradient.reshape(pattern.shape) * pattern, by_pattern.reshape(pattern.shape)):
            raise refusal(bound, f"the MLP of {mlp.name} mixes its neurons")
    if mlp.up is not None and not _is_linear_in_up(mlp, slices[1], sources):
        raise refusal(bound, f"the MLP of {mlp.name} is not linear in its up projection")


def _slices_of(mlp: Mlp, gradients: Iterable[torch.Tensor]) -> list[torch.Tensor]:
    """The columns of the first projection and of up, from the gradients of the linears' outputs."""
    of_linear = {id(linear): gradient for linear, gradient in zip(mlp.linears, gradients, strict=True)}
    parts = [mlp.first, *([] if mlp.up is None else [mlp.up])]
    return [linear.as_given(own).take(of_linear[id(linear)]) for linear, own in parts]


def _is_linear_in_up(mlp: Mlp, gradient: torch.Tensor, sources: list[torch.Tensor]) -> bool:
    """Whether the gradient of up does not depend on up."""
    if not gradient.requires_grad:
        return True
    again = torch.autograd.grad(gradient.sum(), sources, allow_unused=True, retain_graph=True)
    filled = [
        torch.zeros_like(source) if own is None else own for own, source in zip(again, sources, strict=True)
    ]
    return not _slices_of(mlp, filled)[1].any()
