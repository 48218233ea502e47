"""A model without its weights: built from the configuration on torch's meta device, and bound there.

A structure that does not fit is refused in a second or two instead of after a download of gigabytes, and
`plan` reads everything it needs from the skeleton.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from culnig.models.base import BoundModel, ModelAdapter, bind_model
from culnig.models.configuration import (
    causal_class,
    check_causal_configuration,
    check_numbers,
    read_configuration,
)
from culnig.models.peft_adapter import with_base
from culnig.models.settings import LoadSettings
from culnig.models.source import locate, reading


@dataclass(frozen=True)
class Skeleton:
    """A configuration, its transformers class, and the bound model without weights."""

    bound: BoundModel
    """On the meta device; it has no tokenizer."""
    config: Any
    auto_class: Any
    """The transformers class that loads the weights."""
    options: dict[str, Any]
    """Keywords that configuration and weights are both built with."""


def load_skeleton(
    source: str, adapters: Sequence[ModelAdapter], settings: LoadSettings | None = None
) -> Skeleton:
    """Read the configuration that `source` names and bind the model it describes.

    BindingError if it is not a causal language model or fits no adapter; ModelLoadError if the
    configuration cannot be read or has impossible values; InputError for a revision of local files.
    """
    asked = source
    source, settings = with_base(source, settings or LoadSettings())
    files = locate(source, settings)
    import torch

    config = read_configuration(source, files, settings)
    auto_class = causal_class(source, config)
    check_causal_configuration(source, config)
    check_numbers(source, config)
    options = _building_options(config, settings)
    with reading(source, files), torch.device("meta"):
        model = auto_class.from_config(
            config,
            dtype=_dtype(config, settings),
            trust_remote_code=settings.trust_remote_code,
            **options,
        )
    model.eval()
    bound = bind_model(asked, model, cast(Any, None), adapters)
    return Skeleton(bound, config, auto_class, options)


def _building_options(config: Any, settings: LoadSettings) -> dict[str, Any]:
    """The attention implementation, where it is not left to transformers."""
    attention = settings.attention
    if attention == "auto":
        # fused attention has no soft-capping between its scores and their softmax
        capping = hasattr(config.get_text_config(), "attn_logit_softcapping")
        return {"attn_implementation": "eager"} if capping else {}
    return {"attn_implementation": attention}


def _dtype(config: Any, settings: LoadSettings) -> Any:
    import torch

    if settings.dtype != "auto":
        return getattr(torch, settings.dtype)
    own = getattr(config, "dtype", None) or getattr(config.get_text_config(), "dtype", None)
    if isinstance(own, str):
        own = getattr(torch, own)
    return own or torch.float32
