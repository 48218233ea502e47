"""The files of a checkpoint: what can be said about them before, or beside, transformers reads them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from culnig.errors import ModelLoadError, listed
from culnig.models.settings import LoadSettings
from culnig.models.source import ModelFiles

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
"""The names that transformers reads; it prefers the first."""

_FLOATS = {"F64", "F32", "F16", "BF16"}
"""Formats that hold weights as they are; all others need scales, or code that unpacks them."""


def has_weights(folder: Path) -> bool:
    """Whether the folder holds a model's own weights, in a format that is read or in another."""
    names = (SINGLE, INDEX, "pytorch_model.bin", "pytorch_model.bin.index.json")
    return any((folder / name).exists() for name in names)


def snapshot(files: ModelFiles, settings: LoadSettings) -> Path | None:
    """The folder that the weights lie in: the model's own, or that of the hub's cache once it is there."""
    if files.gguf is not None:
        return None
    if Path(files.name).is_dir():
        return Path(files.name)
    from transformers.utils.hub import cached_file

    for name in (SINGLE, INDEX):
        cached = cached_file(
            files.name,
            name,
            revision=settings.revision,
            local_files_only=True,
            _raise_exceptions_for_missing_entries=False,
            _raise_exceptions_for_connection_errors=False,
        )
        if cached is not None:
            return Path(cached).parent
    return None


def check_checkpoint(source: str, folder: Path, model: Any, *, quantized: bool) -> None:
    """ModelLoadError where files are missing or damaged, or hold numbers that need scales to be read.

    `model` gives the names of the weights; `quantized` says that the configuration declares a quantization,
    whose own loader then checks its scales.
    """
    headers = {path: _header(source, path) for path in _files(source, folder)}
    if quantized:
        return
    floats = {name for name, parameter in model.named_parameters() if parameter.is_floating_point()}
    packed = {
        f"{name} ({kind})"
        for header in headers.values()
        for name, kind in header.items()
        if kind not in _FLOATS and _is_one_of(name, floats)
    }
    if packed:
        raise ModelLoadError(
            f"model {source!r} has quantized weights, and its configuration declares no quantization: "
            f"{listed(packed)}. Read as plain numbers, without their scales, they would be other weights; "
            "give the unquantized model, or restore quantization_config in config.json"
        )


def _is_one_of(name: str, parameters: set[str]) -> bool:
    """Whether a tensor of a file is one of the parameters, whichever of them has a prefix."""
    parts = name.split(".")
    tails = {".".join(parts[start:]) for start in range(len(parts))}
    return bool(tails & parameters) or any(own.endswith(f".{name}") for own in parameters)


def _files(source: str, folder: Path) -> list[Path]:
    """The files that transformers reads."""
    if (folder / SINGLE).is_file():
        return [folder / SINGLE]
    index = folder / INDEX
    if not index.is_file():
        other = sorted(
            path.name for path in folder.iterdir() if path.suffix in (".bin", ".pt", ".pth", ".ckpt")
        )
        advice = (
            f"{listed(other)} can run code when read and is not opened; convert it: load the model with "
            "transformers where you trust it and call save_pretrained"
            if other
            else "copy or download the weights"
        )
        raise ModelLoadError(
            f"model {source!r} has no weights in {SINGLE} (or {INDEX} and its files); {advice}"
        )
    try:
        names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise ModelLoadError(
            f"{index} is damaged: it is no JSON object that maps tensors to files under weight_map; copy or "
            "download it again"
        ) from None
    paths = [folder / str(name) for name in sorted(names, key=str)]
    if missing := [path.name for path in paths if not path.is_file()]:
        raise ModelLoadError(
            f"model {source!r} lacks {len(missing)} of its {len(paths)} files of weights: {listed(missing)}; "
            "copy or download them"
        )
    return paths


def _header(source: str, path: Path) -> dict[str, str]:
    """Names and number formats of the tensors in a safetensors file."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 0 < length <= path.stat().st_size:
                raise ValueError(f"a header of {length} bytes")
            tensors = {
                name: each for name, each in json.loads(file.read(length)).items() if "data_offsets" in each
            }
        end = max((each["data_offsets"][1] for each in tensors.values()), default=0)
        header = {name: str(each["dtype"]) for name, each in tensors.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise ModelLoadError(
            f"model {source!r}: {path} is damaged ({error}); copy or download it again"
        ) from None
    if (size := path.stat().st_size) != 8 + length + end:
        raise ModelLoadError(
            f"model {source!r}: {path} is damaged or incomplete: it has {size:,} bytes and declares "
            f"{8 + length + end:,}; copy or download it again"
        )
    return header
