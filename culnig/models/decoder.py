"""How both adapters bind a decoder: find its stack of layers, and the parts of each layer (`parts`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from culnig.core.neurons import (
    EXPERTS_GATE,
    EXPERTS_IN,
    FORWARD_ORDER,
    MLP_GATE,
    MLP_IN,
    SHARED_GATE,
    SHARED_IN,
)
from culnig.errors import BindingError
from culnig.models.base import ModuleSlice, gives_rows
from culnig.models.parts import attends_elsewhere, layer_slices, routes_to_experts
from culnig.models.structure import decoder_layers

if TYPE_CHECKING:
    from torch import nn

_MLPS = {
    MLP_GATE: ({MLP_GATE, EXPERTS_GATE, SHARED_GATE}, "a gated MLP (gate and up projection)"),
    MLP_IN: ({MLP_IN, EXPERTS_IN, SHARED_IN}, "a plain MLP (one first projection)"),
}
"""Modules of each kind of MLP, those of experts included, and what the kind is."""


def decoder_slices(model: nn.Module, config: Any, mlp: str) -> list[ModuleSlice]:
    """All slices of a decoder with an MLP like `mlp`, one of MLP_GATE and MLP_IN.

    BindingError says which part is missing, or that the model has neurons that could not be bound.
    """

    def fits(layer: nn.Module) -> bool:
        try:
            return routes_to_experts(layer) or bool(layer_slices(layer, 0, config))
        except BindingError:  # it has parts; what is wrong with them is said below
            return True

    layers = decoder_layers(model, fits, "attention or an MLP")
    slices = [
        own
        for number, layer in enumerate(layers)
        if not attends_elsewhere(layer, number)
        for own in layer_slices(layer, number, config)
    ]
    modules = {own.module for own in slices}
    mlps = {module for module in FORWARD_ORDER if module.startswith("mlp.")}
    for part, missing in (("an MLP", not modules & mlps), ("attention or a mixer", modules <= mlps)):
        if missing:
            raise BindingError(
                f"no layer has {part} whose projections are linear modules; its layers have "
                f"{', '.join(sorted(modules)) or 'none'}"
            )
    _refuse_shared(slices)
    of_kind, described = _MLPS[mlp]
    if not modules & of_kind:
        raise BindingError(f"no layer has {described}")
    if any(gives_rows(own.linear) for own in slices):
        from culnig.models.experts import use_projections

        use_projections(model)
    return slices


def _refuse_shared(slices: Sequence[ModuleSlice]) -> None:
    """A neuron is of one layer, with weights of its own; weights that several layers use are not bound."""
    layers: dict[int, ModuleSlice] = {}
    for own in slices:
        first = layers.setdefault(id(getattr(own.linear, "weight", own.linear)), own)
        if first.layer != own.layer:
            raise BindingError(
                f"layers {first.layer} and {own.layer} share the weights of {own.module}, so its neurons "
                "would belong to several layers"
            )
