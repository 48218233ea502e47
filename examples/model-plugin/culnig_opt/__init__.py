"""An adapter for OPT: separate attention projections, and an MLP of two linear modules directly in the layer.

A neuron of the MLP is the output of its first projection `fc1`, before the activation function.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from culnig.core.neurons import KEY, MLP_IN, QUERY, VALUE
from culnig.errors import BindingError
from culnig.models.base import ModelAdapter, ModuleSlice

if TYPE_CHECKING:
    from torch import nn


class OPTDecoder(ModelAdapter):
    """Binds by structure: any decoder whose layers have these four linears."""

    name = "opt"
    summary = (
        "decoders with `self_attn` and `fc1` side by side (OPT); neuron = output of fc1, query, key or value"
    )

    def bind(self, model: nn.Module, config: Any) -> list[ModuleSlice]:
        """Slices of all layers; their widths are those that the configuration declares."""
        layers = getattr(model.get_decoder(), "layers", [])
        widths = {
            "self_attn.q_proj": (QUERY, config.hidden_size),
            "self_attn.k_proj": (KEY, config.hidden_size),
            "self_attn.v_proj": (VALUE, config.hidden_size),
            "fc1": (MLP_IN, getattr(config, "ffn_dim", 0)),
        }
        slices = []
        for number, layer in enumerate(layers):
            for path, (module, width) in widths.items():
                try:
                    linear = layer.get_submodule(path)
                except AttributeError:
                    raise BindingError(f"layer {number} has no `{path}`") from None
                if getattr(linear, "out_features", None) != width:
                    raise BindingError(
                        f"layer {number}: `{path}` has not the {width} outputs of the configuration"
                    )
                slices.append(ModuleSlice(linear, module, number, offset=0, width=width))
        if not slices:
            raise BindingError("the decoder has no `layers`")
        return slices
