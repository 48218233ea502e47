"""One entry of the cache: a model folder as transformers reads it, with a record of its files' checksums."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from culnig.models.base import weights_hash
from culnig.provenance import file_hash

RECORD = "entry.json"
WEIGHTS = "model.safetensors"

ALIGNMENT = 64
"""Bytes that torch aligns its own tensors to; a kernel may add in another order where they are not."""


class EntryProblem(Exception):
    """An entry is damaged, or does not give what was read from the GGUF file."""


def write_entry(folder: Path, model: Any, tokenizer: Any, record: dict[str, str]) -> None:
    """Write a loaded model and its tokenizer, and `record` with what it takes to check them.

    EntryProblem where configuration or tokenizer would be read as anything else than they are now, and where
    weights are not numbers.
    """
    if not all(parameter.is_floating_point() for parameter in model.parameters()):
        raise EntryProblem("its weights are packed integers")
    model.config.save_pretrained(folder)
    model.generation_config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    _write_weights(folder / WEIGHTS, model)
    _check_readable(folder, model, tokenizer)
    files = {path.name: file_hash(path) for path in folder.iterdir()}
    document = {**record, "weights_hash": weights_hash(model), "files": files}
    (folder / RECORD).write_text(json.dumps(document, indent=1), encoding="utf-8")


def check_entry(folder: Path, *, weights: bool) -> None:
    """EntryProblem where a file is missing, added or changed; the weights are read only with `weights`."""
    files = read_record(folder)["files"]
    present = {path.name for path in folder.iterdir()} - {RECORD}
    if changed := present ^ set(files):
        raise EntryProblem(f"{', '.join(sorted(changed))} was removed or added")
    for name, expected in files.items():
        if (weights or name != WEIGHTS) and file_hash(folder / name) != expected:
            raise EntryProblem(f"{name} is damaged")


def check_loaded(folder: Path, model: Any) -> None:
    """EntryProblem where the model's weights are not those that were written; may move some in memory."""
    if weights_hash(model) != read_record(folder)["weights_hash"]:
        raise EntryProblem("its weights are not those of the GGUF file")
    for parameter in model.parameters():
        if parameter.data_ptr() % ALIGNMENT and parameter.device.type == "cpu":
            parameter.data = parameter.data.clone()


def read_weights(folder: Path, model: Any) -> None:
    """Give a model of the same structure the weights of an entry; EntryProblem where they do not fit."""
    from safetensors.torch import load_file

    weights = load_file(folder / WEIGHTS)
    own = model.state_dict()
    if any(name not in own or own[name].shape != tensor.shape for name, tensor in weights.items()):
        raise EntryProblem("its weights are of another model")
    model.load_state_dict(weights, strict=False)  # tensors that share memory are written once


def read_record(folder: Path) -> dict[str, Any]:
    """The record of an entry; EntryProblem where it is damaged."""
    try:
        document = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        complete = isinstance(document["files"], dict) and isinstance(document["weights_hash"], str)
    except (OSError, ValueError, KeyError, TypeError):
        complete = False
    if not complete:
        raise EntryProblem(f"{RECORD} is damaged")
    return dict(document)


def _write_weights(path: Path, model: Any) -> None:
    """All tensors of the model, those that share memory once (the loader ties them again)."""
    from safetensors.torch import save_file

    tensors, seen = {}, set()
    for name, tensor in model.state_dict().items():
        memory = (tensor.data_ptr(), tensor.shape, tensor.stride())
        if memory not in seen:
            tensors[name] = tensor.contiguous()
        seen.add(memory)
    metadata = {"format": "pt"}
    save_file(tensors, path, metadata=metadata)
    with path.open("rb") as file:
        start = 8 + int.from_bytes(file.read(8), "little")
    if start % ALIGNMENT:  # tensors are used where the file is mapped, so its header is made longer
        entry = len(',"padding":""')
        metadata["padding"] = "-" * ((-start - entry) % ALIGNMENT)
        save_file(tensors, path, metadata=metadata)


def _check_readable(folder: Path, model: Any, tokenizer: Any) -> None:
    from transformers import AutoConfig, AutoTokenizer, GenerationConfig

    pairs = {
        "configuration": (model.config, AutoConfig.from_pretrained(folder)),
        "generation configuration": (model.generation_config, GenerationConfig.from_pretrained(folder)),
    }
    for name, (own, read) in pairs.items():
        written, given = read.to_dict(), own.to_dict()
        differing = {key for key in written.keys() | given.keys() if written.get(key) != given.get(key)}
        if differing - {"_name_or_path"}:
            raise EntryProblem(f"its {name} cannot be written ({', '.join(sorted(differing))})")
    if _facts(tokenizer) != _facts(AutoTokenizer.from_pretrained(folder)):
        raise EntryProblem("its tokenizer cannot be written")


def _facts(tokenizer: Any) -> tuple[object, ...]:
    """Everything that decides which token ids a text has."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    return (
        type(tokenizer),
        tokenizer.get_vocab() if backend is None else backend.to_str(),
        tokenizer.special_tokens_map,
        tokenizer.chat_template,
        tokenizer.padding_side,
        tokenizer.truncation_side,
        tokenizer.model_max_length,
    )
