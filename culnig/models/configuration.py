"""What a model's configuration tells before any weights are read: whether it can be scored at all.

`plan` and every command that loads weights go through the same checks, so they refuse the same models.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from culnig.errors import BindingError, ModelLoadError
from culnig.models.settings import LoadSettings
from culnig.models.source import ModelFiles, reading, reading_options

_LATER_TOKENS_SEEN: dict[str, tuple[object, ...]] = {
    "use_bidirectional_attention": (True, "all"),  # Gemma, PaliGemma; "vision" concerns image tokens only
    "bidirectional": (True,),
    "prefix_lm": (True,),
    "is_prefix_lm": (True,),
    "is_causal": (False,),
    "causal": (False,),
    "causal_attention": (False,),
}
"""Fields of configurations, and their values that let a token attend to later ones."""

_REQUIRED = ("hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size")
_OPTIONAL = ("num_key_value_heads", "intermediate_size", "head_dim", "max_position_embeddings")
"""Sizes that are derived from others, or not limited, where they are null."""
_BY_LAYER = ("num_attention_heads", "num_key_value_heads", "intermediate_size")
"""Sizes that may differ from layer to layer."""
_GPT2_NAMES = ("n_embd", "n_layer", "n_head", "n_positions")

_DECODERS = "scores need a causal decoder, such as Llama, Qwen or Gemma"


def read_configuration(source: str, files: ModelFiles, settings: LoadSettings) -> Any:
    """The configuration as transformers reads it, after the checks of its numbers.

    ModelLoadError where it cannot be read or has an impossible value.
    """
    from transformers import AutoConfig

    if files.gguf is None and (path := Path(files.name) / "config.json").is_file():
        document = _json_object(source, path)
        for part in (document, document.get("text_config")):
            if isinstance(part, Mapping):
                _check_sizes(source, part)
    with reading(source, files):
        return AutoConfig.from_pretrained(files.name, **reading_options(files, settings))


def check_causal_configuration(source: str, config: Any) -> None:
    """BindingError where the configuration says that a token attends to later ones, or has several texts."""
    try:
        config.get_text_config()
    except ValueError as error:
        raise BindingError(
            f"model {source!r} ({_kind(config)}) has several text models, and none of them is the decoder of "
            f"the others ({str(error).split('.')[0]}); {_DECODERS}"
        ) from None
    text = config.get_text_config()
    if (shared := getattr(text, "num_kv_shared_layers", 0)) and shared == _size(text, "num_hidden_layers"):
        raise BindingError(
            f"model {source!r} ({_kind(config)}) has no keys and values of its own: all its layers use those "
            f"of the model that it drafts for; {_DECODERS}"
        )
    for part in _parts(config):
        for name, refused in _LATER_TOKENS_SEEN.items():
            value = part.get(name) if isinstance(part, Mapping) else getattr(part, name, None)
            if any(value is each or (isinstance(each, str) and value == each) for each in refused):
                raise BindingError(
                    f"model {source!r} ({_kind(config)}) is configured with {name}={value!r}: its tokens see "
                    f"later tokens, so it is not a causal model; {_DECODERS}"
                )


def check_numbers(source: str, config: Any) -> None:
    """ModelLoadError for impossible sizes of the text decoder; BindingError where heads do not divide."""
    text = config.get_text_config()
    own = {name: value for name in (*_REQUIRED, *_OPTIONAL) if (value := _size(text, name)) is not None}
    _check_sizes(source, own)
    heads, key_heads = (
        value if isinstance(value := own.get(name), int) else None
        for name in ("num_attention_heads", "num_key_value_heads")
    )
    if heads and key_heads and heads % key_heads:
        raise BindingError(
            f"model {source!r}: num_attention_heads {heads} is not a multiple of num_key_value_heads "
            f"{key_heads}, so its config.json belongs to other weights or was edited; restore it"
        )
    hidden = own.get("hidden_size")
    if heads and hidden and "head_dim" not in own and hidden % heads:
        raise BindingError(
            f"model {source!r}: hidden_size {hidden} is not a multiple of num_attention_heads {heads}, and "
            "no head_dim is declared; restore its config.json"
        )


def causal_class(source: str, config: Any) -> Any:
    """The class for causal language models of this configuration; an additional image tower is allowed."""
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING,
        MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
        MODEL_FOR_MASKED_LM_MAPPING,
    )

    kind = _kind(config)
    if getattr(config, "is_encoder_decoder", False):
        raise BindingError(
            f"model {source!r} ({kind}) is an encoder–decoder; scores need a decoder that reads the prompt "
            "and answers at its last token, such as Llama, Qwen or Gemma"
        )
    # some masked language models can be configured as decoders, and then say so
    if type(config) in MODEL_FOR_MASKED_LM_MAPPING and not getattr(config, "is_decoder", False):
        raise BindingError(
            f"model {source!r} ({kind}) is an encoder, whose tokens see the whole text and give no answer; "
            f"{_DECODERS}"
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


def _size(config: Any, name: str) -> Any:
    """A size; None where there is none, where it is not limited, or where layers have their own (Gemma 4)."""
    try:
        value = getattr(config, name, None)
    except RuntimeError:  # transformers' error for sizes that differ from layer to layer
        return None
    return None if name == "max_position_embeddings" and value == -1 else value


def _kind(config: Any) -> str:
    return type(config).__name__.removesuffix("Config")


def _parts(config: Any) -> list[Any]:
    """The configuration, that of its text decoder, and what either says about attention (MPT)."""
    parts = [config, config.get_text_config()]
    attention = [getattr(part, "attn_config", None) for part in parts]
    return parts + [part for part in attention if part is not None]


def _json_object(source: str, path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelLoadError(
            f"cannot load model {source!r}: {path} is not JSON ({error}); copy or download it again"
        ) from None
    if not isinstance(document, dict):
        raise ModelLoadError(
            f"cannot load model {source!r}: {path} holds a {type(document).__name__}, not an object with the "
            "model's settings; copy or download it again"
        )
    return document


def _check_sizes(source: str, sizes: Mapping[str, Any]) -> None:
    """Every size that is given is a positive whole number, or one for each layer where families allow it."""
    for name in (*_REQUIRED, *_OPTIONAL, *_GPT2_NAMES):
        value = sizes.get(name, 1)
        if value is None and name in _OPTIONAL:
            continue
        by_layer = value if isinstance(value, list | tuple) and name in _BY_LAYER else [value]
        if any(isinstance(each, bool) or not isinstance(each, int) or each < 1 for each in by_layer):
            raise ModelLoadError(
                f"cannot load model {source!r}: {name} is {str(value)[:60]} in its configuration; a whole "
                f"number of at least 1 is needed{', or one for each layer' if name in _BY_LAYER else ''}. "
                "Copy or download config.json again"
            )
