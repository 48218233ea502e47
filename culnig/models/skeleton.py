"""A model without its weights: built from the configuration on torch's meta device, and bound there.

A structure that does not fit is refused in a second or two instead of after a download of gigabytes, and
`plan` reads everything it needs from the skeleton.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from culnig.errors import InputError, option
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
    configuration cannot be read or has impossible values; InputError for a revision of local files, or an
    attention implementation that computes another model.
    """
    asked = source
    source, settings = with_base(source, settings or LoadSettings())
    files = locate(source, settings)
    import torch

    config = read_configuration(source, files, settings)
    auto_class = causal_class(source, config)
    check_causal_configuration(source, config)
    check_numbers(source, config)
    options = _building_options(source, config, settings.attention)
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


def _building_options(source: str, config: Any, attention: str) -> dict[str, Any]:
    """The attention implementation, where it is not left to transformers.

    transformers computes families with attention sinks eagerly by itself, because sdpa cannot express them.
    """
    cap = getattr(config.get_text_config(), "attn_logit_softcapping", None)
    if cap and attention == "sdpa":
        raise InputError(
            f"model {source!r} caps its attention scores (attn_logit_softcapping is {cap}), which sdpa "
            f"leaves out; use {option('attention', 'eager')}"
        )
    if attention == "auto":
        return {"attn_implementation": "eager"} if cap else {}
    return {"attn_implementation": attention}


def _dtype(config: Any, settings: LoadSettings) -> Any:
    import torch

    if settings.dtype != "auto":
        return getattr(torch, settings.dtype)
    own = getattr(config, "dtype", None) or getattr(config.get_text_config(), "dtype", None)
    if isinstance(own, str):
        own = getattr(torch, own)
    return own or torch.float32
