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
from culnig.models.checkpoint import check_files, check_scales, snapshot
from culnig.models.gguf import check_all_read
from culnig.models.loaded import (
    check_causal,
    check_differentiable,
    check_vocabulary,
    check_weights,
    layer_stack,
    without_report,
)
from culnig.models.peft_adapter import (
    chat_template,
    check_adapter_folder,
    merge_adapter,
    tokenizer_folder,
    warn_of_adapter,
    with_base,
)
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

    `skeleton` avoids reading the configuration again. An adapter that lies beside full weights is merged only
    where `settings` name it; a ModelWarning says so. The model is checked once it is loaded: all its weights
    are the checkpoint's, its tokenizer's ids have embeddings, and later tokens do not change earlier ones.

    InputError for impossible settings, BindingError for a structure that fits no adapter or is not causal,
    ModelLoadError for files that cannot be read or do not belong together, EnvironmentProblem for a missing
    device or package.
    """
    asked = source
    source, settings = with_base(source, settings or LoadSettings())
    device = _device(settings.device)
    if settings.adapter is not None:
        check_adapter_folder(Path(settings.adapter))
    if settings.quantize is not None:
        check_bitsandbytes()
    skeleton = skeleton or load_skeleton(source, adapters, settings)
    warn_of_adapter(source, settings)
    tokenizer = load_tokenizer(source, settings)
    model = _read_weights(source, adapters, settings, skeleton, device)
    if settings.adapter is not None:
        model = merge_adapter(model, Path(settings.adapter))
        source = asked if asked != source else f"{source} with adapter {settings.adapter}"
    return _checked(source, model, tokenizer, adapters)


def _checked(source: str, model: Any, tokenizer: Any, adapters: Sequence[ModelAdapter]) -> BoundModel:
    model.eval()
    bound = bind_model(source, model, tokenizer, adapters)
    check_vocabulary(bound)
    check_causal(bound)
    check_differentiable(bound)
    return bound


def _read_weights(
    source: str,
    adapters: Sequence[ModelAdapter],
    settings: LoadSettings,
    skeleton: Skeleton,
    device: torch.device,
) -> Any:
    """The model on its device; what was read from a GGUF file is kept in the cache once it is checked."""
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
            check_all_read(source, files.gguf, model)
        if files.gguf is not None and entry is not None:
            tokenizer = load_tokenizer(source, replace(settings, adapter=None))
            _checked(source, model, tokenizer, adapters)
            keep(files.gguf, entry, settings.dtype, model, tokenizer)
    if settings.device_map is None and settings.quantize is None:
        model.to(device=device)
    return model


def _from_pretrained(
    source: str, files: ModelFiles, settings: LoadSettings, skeleton: Skeleton, device: torch.device
) -> Any:
    """The model as transformers reads it: on the CPU, or placed by a device map or quantization."""
    placed = settings.device_map is not None or settings.quantize is not None
    if files.gguf is None and Path(files.name).is_dir():
        check_files(source, Path(files.name))
    with reading(source, files), without_report():
        model, info = skeleton.auto_class.from_pretrained(
            files.name,
            config=skeleton.config,
            dtype=settings.dtype,
            use_safetensors=True,
            device_map=(settings.device_map or {"": device}) if placed else None,
            quantization_config=_quantization(settings, skeleton),
            adapter_kwargs={"subfolder": "-"},  # an adapter in the folder would be applied without a word
            ignore_mismatched_sizes=True,  # they are refused below, by name
            output_loading_info=True,
            **skeleton.options,
            **reading_options(files, settings),
        )
    check_weights(source, model, info, layer_stack(skeleton.bound))
    if (folder := snapshot(files, settings)) is not None:
        check_scales(source, folder, model)
    _check_placed(source, model)
    keep_differentiable(model)
    return model


def _as_plain_floats(model: Any) -> None:
    """Weights of a GGUF file are plain floats once loaded; transformers still calls them quantized."""
    quantizer = getattr(model, "hf_quantizer", None)
    if quantizer is not None and all(parameter.is_floating_point() for parameter in model.parameters()):
        quantizer.remove_quantization_config(model)


def load_tokenizer(source: str, settings: LoadSettings | None = None) -> Any:
    """The tokenizer of the model that `source` names; an adapter's own, and its chat template, come first."""
    source, settings = with_base(source, settings or LoadSettings())
    files = locate(source, settings)
    from transformers import AutoTokenizer

    own = None if settings.adapter is None else tokenizer_folder(Path(settings.adapter))
    with reading(source, files, "the tokenizer of model"):
        if own is None:
            tokenizer = AutoTokenizer.from_pretrained(files.name, **reading_options(files, settings))
            tokenizer.name_or_path = files.original_name
        else:
            tokenizer = AutoTokenizer.from_pretrained(str(own), trust_remote_code=settings.trust_remote_code)
    if own is None and settings.adapter is not None:
        tokenizer.chat_template = chat_template(Path(settings.adapter)) or tokenizer.chat_template
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
