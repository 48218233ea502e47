"""Adapter for decoders with a gated MLP: Llama, SmolLM, Qwen, Mistral, Falcon3, Gemma, OLMo, Phi-3 …"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from culnig.core.neurons import MLP_GATE
from culnig.models.base import ModelAdapter, ModuleSlice
from culnig.models.decoder import decoder_slices

if TYPE_CHECKING:
    from torch import nn


class GatedDecoder(ModelAdapter):
    """Binds gate and up projection before the activation function, query, key and value before rotation."""

    name = "gated-decoder"
    summary = (
        "decoders with a gated MLP (Llama, SmolLM, Qwen, Mistral, Falcon3, Gemma, OLMo, Phi-3 …), "
        "projections separate or fused; neuron = output of the gate, up, query, key or value projection"
    )

    def bind(self, model: nn.Module, config: Any) -> list[ModuleSlice]:
        """All slices of the decoder's layers."""
        return decoder_slices(model, config, MLP_GATE)
