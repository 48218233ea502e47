"""An adapter for Mamba, whose layers have neither attention nor an MLP, only a mixer that passes on a state.

Each channel of the mixer has a gate, which scales what the channel gives as the gate of an MLP does. So
it is called `mlp.gate_proj`, and belongs to the pool `mlp`; what goes into the state is `mixer.in_proj`,
which is scored too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from culnig.core.neurons import MLP_GATE
from culnig.models.base import ModelAdapter, ModuleSlice
from culnig.models.structure import cut, decoder_layers, has

if TYPE_CHECKING:
    from torch import nn


class MambaDecoder(ModelAdapter):
    """Binds by structure: any decoder whose layers have a mixer with these two projections."""

    name = "mamba"
    summary = "state-space decoders (Mamba); neuron = the gate of a channel, or what goes into its state"

    def bind(self, model: nn.Module, config: Any) -> list[ModuleSlice]:
        """Slices of all layers: `in_proj` gives what goes into the state, then the gates."""
        slices = []
        for number, layer in enumerate(decoder_layers(model, _fits, "`mixer.in_proj` and `mixer.x_proj`")):
            parts = [("mixer.in_proj", config.intermediate_size), (MLP_GATE, config.intermediate_size)]
            slices += cut(layer.get_submodule("mixer.in_proj"), "mixer.in_proj", number, parts)
        return slices


def _fits(layer: nn.Module) -> bool:
    return has(layer, "mixer.in_proj", "mixer.x_proj")
