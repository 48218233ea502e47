"""The files of a checkpoint: what can be said about them before, or beside, transformers reads them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from culnig.errors import ModelLoadError, listed
from culnig.models.settings import LoadSettings
from culnig.models.source import ModelFiles

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
"""The names that transformers reads; it prefers the first."""

FLOATS = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
"""Formats that hold weights as they are, with their names in torch; all others need scales, or code that
unpacks them."""


_SCALE = re.compile(r"scale|absmax|SCB")
"""Names of tensors with the scales of a weight beside them."""


class StoredTensor(NamedTuple):
    """Where a safetensors file holds a tensor."""

    path: Path
    number_format: str
    """As the file calls it, such as BF16."""
    shape: tuple[int, ...]
    offset: int
    """Of its first byte in the file."""


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


def check_files(source: str, folder: Path) -> None:
    """ModelLoadError where files of weights are missing, damaged, or in a format that is not read."""
    for path in weight_files(source, folder):
        _header(source, path)


def check_scales(source: str, folder: Path, model: Any) -> None:
    """ModelLoadError where files hold numbers that need scales to be read, and none would be applied.

    Quantized weights need a tensor with their scales beside them, and a loader of transformers that applies
    them; a quantization that transformers does not know has none, and is read as plain numbers.
    """
    formats = {name: own.number_format for name, own in stored_tensors(source, folder).items()}
    own = dict(model.named_parameters())
    packed = {name for name, kind in formats.items() if kind not in FLOATS and _is_weight(name, own)}
    if getattr(model, "hf_quantizer", None) is not None:
        with_scales = {name.rpartition(".")[0] for name in formats if _SCALE.search(name)}
        with_scales |= {stem.removesuffix(".weight") for stem in with_scales}
        packed = {name for name in packed if name.rpartition(".")[0] not in with_scales}
    if packed:
        described = [f"{name} ({formats[name]})" for name in packed]
        raise ModelLoadError(
            f"model {source!r} has quantized weights, and no scales for them would be applied: "
            f"{listed(described)}. Read as plain numbers they would be other weights; give the unquantized "
            "model, or restore the scales and quantization_config in config.json"
        )


def _is_weight(name: str, parameters: Mapping[str, Any]) -> bool:
    """Whether a tensor of a file is one of the parameters, whichever of them has a prefix."""
    parts = name.split(".")
    tails = {".".join(parts[start:]) for start in range(len(parts))}
    return bool(tails & parameters.keys()) or any(own.endswith(f".{name}") for own in parameters)


def stored_tensors(source: str, folder: Path) -> dict[str, StoredTensor]:
    """Every tensor of a model's files of weights, by name; errors as for `check_files`."""
    return {
        name: tensor
        for path in weight_files(source, folder)
        for name, tensor in _header(source, path).items()
    }


def weight_files(source: str, folder: Path) -> list[Path]:
    """The files of weights that transformers reads; ModelLoadError where some are missing."""
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


def _header(source: str, path: Path) -> dict[str, StoredTensor]:
    """The tensors of a safetensors file by name."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 0 < length <= path.stat().st_size:
                raise ValueError(f"a header of {length} bytes")
            tensors = {
                name: each for name, each in json.loads(file.read(length)).items() if "data_offsets" in each
            }
        end = max((each["data_offsets"][1] for each in tensors.values()), default=0)
        header = {
            name: StoredTensor(
                path, str(each["dtype"]), tuple(each["shape"]), 8 + length + each["data_offsets"][0]
            )
            for name, each in tensors.items()
        }
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
