"""Load a model and its tokenizer: hub name, local folder, GGUF file, or `embedded`.

The configuration comes first and is bound without weights (`skeleton`), so a model that cannot be scored is
refused at once. transformers loads, accelerate spreads big models, bitsandbytes quantizes and peft merges
adapters; this file calls them and turns their failures into errors with advice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from culnig.errors import EnvironmentProblem, InputError, ModelLoadError, command, option
from culnig.models.base import BoundModel, ModelAdapter, bind_model
from culnig.models.cache import discard, entry_folder, keep
from culnig.models.cache_entry import EntryProblem, check_loaded
from culnig.models.peft_adapter import check_adapter_folder, merge_adapter, with_base
from culnig.models.quantization import check_bitsandbytes, keep_differentiable
from culnig.models.settings import DTYPES, LoadSettings
from culnig.models.skeleton import Skeleton, load_skeleton
from culnig.models.source import EMBEDDED, ModelFiles, is_cacheable, locate, reading, reading_options

if TYPE_CHECKING:
    import torch

__all__ = [
    "DTYPES",
    "EMBEDDED",
    "LoadSettings",
    "load_model",
    "load_skeleton",
    "load_tokenizer",
]

SMALLEST_VOCABULARY = 64
"""Entries of the smallest tokenizer that can spell a prompt."""


def load_model(
    source: str,
    adapters: Sequence[ModelAdapter],
    settings: LoadSettings | None = None,
    *,
    skeleton: Skeleton | None = None,
) -> BoundModel:
    """Load and bind the model that `source` names; the folder of an adapter loads its base with it.

    `skeleton` avoids reading the configuration again.

    InputError for impossible settings, BindingError for a structure that fits no adapter, ModelLoadError for
    files that cannot be read, EnvironmentProblem for a missing device or package.
    """
    asked = source
    source, settings = with_base(source, settings or LoadSettings())
    device = _device(settings.device)
    if settings.adapter is not None:
        check_adapter_folder(Path(settings.adapter))
    if settings.quantize is not None:
        check_bitsandbytes()
    skeleton = skeleton or load_skeleton(source, adapters, settings)
    tokenizer = load_tokenizer(source, settings)
    model = _read_weights(source, settings, skeleton, tokenizer, device)
    if settings.adapter is not None:
        model = merge_adapter(model, Path(settings.adapter))
        source = asked if asked != source else f"{source} with adapter {settings.adapter}"
    model.eval()
    return bind_model(source, model, tokenizer, adapters)


def _read_weights(
    source: str, settings: LoadSettings, skeleton: Skeleton, tokenizer: Any, device: torch.device
) -> Any:
    """The model on its device; what was read from a GGUF file is kept in the cache."""
    files = locate(source, settings, weights=True)
    if files.cached is not None:
        try:
            model = _from_pretrained(source, files, settings, skeleton, device)
            check_loaded(files.cached, model)
        except (EntryProblem, ModelLoadError) as problem:
            discard(files.cached, str(problem))
            files = replace(files, cached=None)
        else:
            model.config.name_or_path = files.original_name
    if files.cached is None:
        entry = None
        if files.gguf is not None and is_cacheable(settings) and settings.device_map is None:
            entry = entry_folder(files.gguf, settings.dtype)
        model = _from_pretrained(source, files, settings, skeleton, device)
        if files.gguf is not None:
            _as_plain_floats(model)
        if files.gguf is not None and entry is not None:
            keep(files.gguf, entry, settings.dtype, model, tokenizer)
    if settings.device_map is None and settings.quantize is None:
        model.to(device=device)
    return model


def _from_pretrained(
    source: str, files: ModelFiles, settings: LoadSettings, skeleton: Skeleton, device: torch.device
) -> Any:
    """The model as transformers reads it: on the CPU, or placed by a device map or quantization."""
    placed = settings.device_map is not None or settings.quantize is not None
    with reading(source, files):
        model = skeleton.auto_class.from_pretrained(
            files.name,
            config=skeleton.config,
            dtype=settings.dtype,
            use_safetensors=True,
            device_map=(settings.device_map or {"": device}) if placed else None,
            quantization_config=_quantization(settings, skeleton),
            **skeleton.options,
            **reading_options(files, settings),
        )
    _check_placed(source, model)
    keep_differentiable(model)
    return model


def _as_plain_floats(model: Any) -> None:
    """Weights of a GGUF file are plain floats once loaded; transformers still calls them quantized."""
    quantizer = getattr(model, "hf_quantizer", None)
    if quantizer is not None and all(parameter.is_floating_point() for parameter in model.parameters()):
        quantizer.remove_quantization_config(model)


def load_tokenizer(source: str, settings: LoadSettings | None = None) -> Any:
    """The tokenizer of the model that `source` names."""
    source, settings = with_base(source, settings or LoadSettings())
    files = locate(source, settings)
    from transformers import AutoTokenizer

    with reading(source, files):
        tokenizer = AutoTokenizer.from_pretrained(files.name, **reading_options(files, settings))
    tokenizer.name_or_path = files.original_name
    # without its files a tokenizer may have special tokens only
    if len(tokenizer) < SMALLEST_VOCABULARY:
        raise ModelLoadError(
            f"model {source!r} has a tokenizer of {len(tokenizer)} entries, so its files are missing; add "
            "tokenizer.json and tokenizer_config.json"
        )
    return tokenizer


def _device(name: str) -> torch.device:
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise InputError(f"unknown device {name!r}; give auto, cpu, cuda or cuda:N") from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise EnvironmentProblem(
            f"device {name!r} does not exist: {torch.cuda.device_count()} CUDA devices found; use "
            f"{option('device', 'cpu')}"
        )
    return device


def _quantization(settings: LoadSettings, skeleton: Skeleton) -> Any:
    """transformers' settings for bitsandbytes, or None."""
    if settings.quantize is None:
        return None
    from transformers import BitsAndBytesConfig

    if settings.quantize == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True)  # type: ignore[no-untyped-call]
    return BitsAndBytesConfig(  # type: ignore[no-untyped-call]
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=skeleton.bound.model.dtype
    )


def _check_placed(source: str, model: Any) -> None:
    """Every parameter is on a device; those that accelerate offloads are on none until they are used."""
    if any(parameter.is_meta for parameter in model.parameters()):
        raise EnvironmentProblem(
            f"model {source!r} does not fit on the devices of this machine, so accelerate would load some "
            f"layers again for every batch; use more devices, {option('dtype', 'bfloat16')} or "
            f"{option('quantize', '4bit')}. {command('plan')} says what fits"
        )
