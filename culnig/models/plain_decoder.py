"""Adapter for decoders with a plain MLP: GPT-2, GPT-NeoX, Falcon, Phi, OPT, BLOOM, MPT, StarCoder2 …

The MLP's neuron is the output of its first projection, before the activation function; it is called
`mlp.fc_in` whatever the family calls it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from culnig.core.neurons import MLP_IN
from culnig.models.base import ModelAdapter, ModuleSlice
from culnig.models.decoder import decoder_slices

if TYPE_CHECKING:
    from torch import nn


class PlainDecoder(ModelAdapter):
    """Binds the first MLP projection before the activation function, query, key and value before rotation."""

    name = "plain-decoder"
    summary = (
        "decoders with a plain MLP (GPT-2, GPT-NeoX, Falcon, Phi, OPT, BLOOM, StarCoder2 …); neuron = "
        "output of the first MLP projection (mlp.fc_in) or of the query, key or value projection"
    )

    def bind(self, model: nn.Module, config: Any) -> list[ModuleSlice]:
        """All slices of the decoder's layers."""
        return decoder_slices(model, config, MLP_IN)
