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

from culnig.core.memory import return_large_blocks
from culnig.core.processes import ALONE, Processes, another_may_stop, launched, launched_processes
from culnig.errors import EnvironmentProblem, InputError, ModelLoadError, argument, command, option
from culnig.models.base import BoundModel, ModelAdapter, bind_model, weights_hash
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
from culnig.models.sharding import Sharding, check_experts, check_launch, check_sharded, loading_options
from culnig.models.skeleton import Skeleton, load_skeleton
from culnig.models.source import EMBEDDED, ModelFiles, is_cacheable, locate, reading, reading_options
from culnig.provenance import versions

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
    _check_processes(settings)
    processes = launched() if settings.fsdp else ALONE
    if processes.of > 1:
        check_launch(settings, processes, versions())
    if settings.adapter is not None:
        check_adapter_folder(Path(settings.adapter))
    if settings.quantize is not None:
        check_bitsandbytes()
    skeleton = skeleton or load_skeleton(source, adapters, settings)
    warn_of_adapter(source, settings)
    tokenizer = load_tokenizer(source, settings)
    if processes.of > 1:
        model = _read_parts(source, adapters, settings, skeleton, processes)
    else:
        model = _read_weights(source, adapters, settings, skeleton, device)
    if settings.adapter is not None:
        model = merge_adapter(model, Path(settings.adapter))
        source = asked if asked != source else f"{source} with adapter {settings.adapter}"
    sharding = None
    if processes.of > 1:
        with another_may_stop(processes.of):
            sharding = Sharding(model, processes, weights_hash(model))
    bound = _checked(source, model, tokenizer, adapters, sharding)
    return replace(bound, skeleton=skeleton.bound)


def _checked(
    source: str,
    model: Any,
    tokenizer: Any,
    adapters: Sequence[ModelAdapter],
    sharding: Sharding | None = None,
) -> BoundModel:
    model.eval()
    bound = replace(bind_model(source, model, tokenizer, adapters), sharding=sharding)
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


def _read_parts(
    source: str,
    adapters: Sequence[ModelAdapter],
    settings: LoadSettings,
    skeleton: Skeleton,
    processes: Processes,
) -> Any:
    """The model with a part of its weights in each process; a GGUF file is unpacked by the first, once."""
    import torch

    if not torch.cuda.is_available():
        return_large_blocks()  # gathered weights are such blocks
    check_experts(source, skeleton.bound.model, processes)
    whole = replace(settings, fsdp=False, fsdp_offload=False)
    is_packed = locate(source, settings, weights=True)
    if is_packed.gguf is not None and is_packed.cached is None and processes.is_first:
        _read_weights(source, adapters, whole, skeleton, torch.device("cpu"))
    processes.wait_for_all()
    files = locate(source, settings, weights=True)
    if files.gguf is not None and files.cached is None:
        raise InputError(
            f"model {source!r} is a GGUF file, which no process can read a part of, and its unpacked weights "
            f"are not kept ({argument('fsdp')} reads those); `culnig-engine cache` says where and why"
        )
    model = _from_pretrained(source, files, settings, skeleton, None, processes)
    check_sharded(source, model, layer_stack(skeleton.bound))
    if files.cached is not None:
        try:
            check_loaded(files.cached, model)
        except EntryProblem as problem:
            raise ModelLoadError(
                f"the unpacked weights of model {source!r} are damaged: {problem}; remove {files.cached}"
            ) from None
        model.config.name_or_path = files.original_name
    return model


def _from_pretrained(
    source: str,
    files: ModelFiles,
    settings: LoadSettings,
    skeleton: Skeleton,
    device: torch.device | None,
    processes: Processes = ALONE,
) -> Any:
    """The model as transformers reads it: whole on a device, or this process's part of it."""
    if device is None:
        placed = loading_options(settings, layer_stack(skeleton.bound), processes)
    else:
        placed = {"device_map": _placement(files, settings, device)}
    if files.gguf is None and Path(files.name).is_dir():
        check_files(source, Path(files.name))
    with reading(source, files), without_report():
        model, info = skeleton.auto_class.from_pretrained(
            files.name,
            config=skeleton.config,
            dtype=settings.dtype,
            use_safetensors=True,
            quantization_config=_quantization(settings, skeleton),
            adapter_kwargs={"subfolder": "-"},  # an adapter in the folder would be applied without a word
            ignore_mismatched_sizes=True,  # they are refused below, by name
            output_loading_info=True,
            **placed,
            **skeleton.options,
            **reading_options(files, settings),
        )
    check_weights(source, model, info, layer_stack(skeleton.bound))
    if (folder := snapshot(files, settings)) is not None:
        check_scales(source, folder, model)
    _check_placed(source, model)
    keep_differentiable(model)
    return model


def _placement(files: ModelFiles, settings: LoadSettings, device: torch.device) -> Any:
    """The device map that transformers reads weights by: tensor after tensor straight to its device.

    None reads all of them into memory of the host: for the CPU, and for a GGUF file, which is unpacked there.
    """
    if settings.device_map is not None:
        return settings.device_map
    is_unpacked = files.gguf is not None and files.cached is None
    on_host = device.type == "cpu" or is_unpacked
    return None if on_host and settings.quantize is None else {"": device}


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


def _check_processes(settings: LoadSettings) -> None:
    """InputError where every process of a launch would spread its own copy over the same devices."""
    if settings.device_map is not None and (n_processes := launched_processes()) > 1:
        raise InputError(
            f"torchrun started {n_processes} processes, and with {option('device_map', settings.device_map)} "
            "each of them would spread the whole model over the same devices; leave out "
            f"{argument('device_map')} where the model fits on one device, spread it over the processes with "
            f"{option('fsdp')}, or start one process without torchrun. {command('plan')} says what fits"
        )


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
