"""A model without its weights: built from the configuration on torch's meta device, and bound there.

A structure that does not fit is refused in a second or two instead of after a download of gigabytes, and
`plan` reads everything it needs from the skeleton.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from culnig.errors import BindingError
from culnig.models.base import BoundModel, ModelAdapter, bind_model
from culnig.models.peft_adapter import with_base
from culnig.models.settings import LoadSettings
from culnig.models.source import locate, reading, reading_options


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
    configuration cannot be read.
    """
    asked = source
    source, settings = with_base(source, settings or LoadSettings())
    files = locate(source, settings)
    import torch
    from transformers import AutoConfig

    with reading(source, files):
        config = AutoConfig.from_pretrained(files.name, **reading_options(files, settings))
    auto_class = _causal_class(source, config)
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


def _causal_class(source: str, config: Any) -> Any:
    """The class for causal language models of this configuration; an additional image tower is allowed."""
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING,
        MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
        MODEL_FOR_MASKED_LM_MAPPING,
    )

    kind = type(config).__name__.removesuffix("Config")
    if getattr(config, "is_encoder_decoder", False):
        raise BindingError(
            f"model {source!r} ({kind}) is an encoder–decoder; scores need a decoder that reads the prompt "
            "and answers at its last token, such as Llama, Qwen or Gemma"
        )
    # some masked language models can be configured as decoders, and then say so
    if type(config) in MODEL_FOR_MASKED_LM_MAPPING and not getattr(config, "is_decoder", False):
        raise BindingError(
            f"model {source!r} ({kind}) is an encoder, whose tokens see the whole text and give no answer; "
            "scores need a causal decoder, such as Llama, Qwen or Gemma"
        )
    if type(config) in MODEL_FOR_CAUSAL_LM_MAPPING or "AutoModelForCausalLM" in (
        getattr(config, "auto_map", None) or {}
    ):
        return AutoModelForCausalLM
    if type(config) in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING:
        return AutoModelForImageTextToText
    raise BindingError(
        f"model {source!r} ({kind}) is not a causal language model that transformers knows; scores need a "
        "decoder, such as Llama, Qwen or Gemma"
    )


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
