"""Models that must not be scored: how to write one, and the words of the error that refuses it.

`REFUSED` is run through the library (tests/models/test_refused.py) and through the commands
(tests/integration/test_refused_models.py).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    Gemma3TextConfig,
    GemmaConfig,
    LlamaConfig,
    PaliGemmaConfig,
    SiglipVisionConfig,
)

from tests.tiny_gguf import write_gguf
from tests.tiny_models import _GEMMA, _SMALL, CONFIGS, byte_tokenizer

Tensors = dict[str, torch.Tensor]

GATE = "model.layers.1.mlp.gate_proj.weight"


@dataclass(frozen=True)
class Refused:
    """A model that is refused."""

    write: Callable[[Path], Path]
    """Writes it into an empty folder; returns what `--model` is given."""
    words: str
    """Regular expression that the error matches."""
    by_configuration: bool = False
    """Whether the configuration tells, so that no weights are read and `plan` refuses it too."""
    options: tuple[str, ...] = ()
    """Options of the command line, in pairs."""

    @property
    def keywords(self) -> dict[str, str]:
        """The options as keyword arguments of the library."""
        names = [name.removeprefix("--").replace("-", "_") for name in self.options[::2]]
        return dict(zip(names, self.options[1::2], strict=True))


def write_model(folder: Path, config: Any | None = None, auto_class: Any = AutoModelForCausalLM) -> Path:
    """A tiny model with random weights and its tokenizer, saved the usual way."""
    torch.manual_seed(0)
    model = auto_class.from_config(deepcopy(config or CONFIGS["llama"]))
    model.save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return folder


def edit_weights(folder: Path, change: Callable[[Tensors], Tensors | None]) -> Path:
    """Change the tensors of the folder's only file of weights."""
    path = folder / "model.safetensors"
    tensors = load_file(path)
    changed = change(tensors)
    save_file(tensors if changed is None else changed, path, metadata={"format": "pt"})
    return folder


def edit_json(path: Path, **values: Any) -> None:
    """Set keys of a JSON file; None removes nothing, it is written as null."""
    document = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(document | values))


def weights(change: Callable[[Tensors], Tensors | None], config: Any | None = None) -> Callable[[Path], Path]:
    """A saved model with changed tensors."""
    return lambda folder: edit_weights(write_model(folder, config), change)


def configured(config: Any | None = None, **values: Any) -> Callable[[Path], Path]:
    """A saved model with changed values in config.json."""

    def write(folder: Path) -> Path:
        write_model(folder, config)
        edit_json(folder / "config.json", **values)
        return folder

    return write


def _without(*names: str) -> Callable[[Tensors], None]:
    def change(tensors: Tensors) -> None:
        for name in names:
            del tensors[name]

    return change


def _prefixed(tensors: Tensors) -> Tensors:
    return {f"net.{name}": tensor for name, tensor in tensors.items()}


def _reshaped(tensors: Tensors) -> None:
    tensors[GATE] = tensors[GATE][:-8].clone()


def _add(**added: torch.Tensor) -> Callable[[Tensors], None]:
    return lambda tensors: tensors.update({name.replace("__", "."): each for name, each in added.items()})


def _int8(tensors: Tensors, *, scales: bool) -> None:
    scale = tensors[GATE].abs().amax() / 127
    tensors[GATE] = (tensors[GATE] / scale).round().to(torch.int8)
    if scales:
        tensors[GATE + "_scale"] = scale[None]


def _float8(tensors: Tensors) -> None:
    tensors[GATE] = tensors[GATE].to(torch.float8_e4m3fn)


def _packed(tensors: Tensors) -> None:
    del tensors[GATE]
    stem = GATE.removesuffix("weight")
    tensors[stem + "qweight"] = torch.zeros(3, 40, dtype=torch.int32)
    tensors[stem + "scales"] = torch.ones(1, 40)


def _declared_quantized(folder: Path, declared: dict[str, Any]) -> Path:
    edit_weights(write_model(folder), _float8)
    edit_json(folder / "config.json", quantization_config=declared)
    return folder


def _nan(tensors: Tensors) -> None:
    tensors[GATE][3, 5] = torch.nan


def _sharded(folder: Path) -> dict[str, str]:
    """Split the weights of a folder into two files with an index; returns the map of names to files."""
    path = folder / "model.safetensors"
    tensors = load_file(path)
    path.unlink()
    names = sorted(tensors)
    weight_map = {}
    for number, own in enumerate((names[::2], names[1::2]), start=1):
        file = f"model-0000{number}-of-00002.safetensors"
        save_file({name: tensors[name] for name in own}, folder / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(own, file)
    edit_json(folder / "model.safetensors.index.json", metadata={"total_size": 1}, weight_map=weight_map)
    return weight_map


def write_sharded(folder: Path) -> Path:
    """A complete model in two files."""
    _sharded(write_model(folder))
    return folder


def _shard_missing(folder: Path) -> Path:
    write_sharded(folder)
    (folder / "model-00002-of-00002.safetensors").unlink()
    return folder


def _index_incomplete(folder: Path) -> Path:
    weight_map = _sharded(write_model(folder))
    first = {name: file for name, file in weight_map.items() if "00001" in file}
    edit_json(folder / "model.safetensors.index.json", weight_map=first)
    return folder


def _shard_incomplete(folder: Path) -> Path:
    write_sharded(folder)
    path = folder / "model-00002-of-00002.safetensors"
    tensors = load_file(path)
    del tensors[sorted(tensors)[-1]]
    save_file(tensors, path, metadata={"format": "pt"})
    return folder


def _damaged_index(folder: Path) -> Path:
    write_sharded(folder)
    (folder / "model.safetensors.index.json").write_text("[]")
    return folder


def _truncated(folder: Path) -> Path:
    path = write_model(folder) / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])
    return folder


def _pickled(folder: Path) -> Path:
    path = write_model(folder) / "model.safetensors"
    torch.save(load_file(path), folder / "pytorch_model.bin")
    path.unlink()
    return folder


def _without_tokenizer(folder: Path) -> Path:
    write_model(folder)
    for path in folder.glob("tokenizer*"):
        path.unlink()
    return folder


def _text(name: str, text: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        write_model(folder)
        (folder / name).write_text(text)
        return folder

    return write


def _small_embedding(folder: Path) -> Path:
    """Fewer rows than the tokenizer has entries, as after an embedding that was not saved resized."""
    return write_model(folder, LlamaConfig(**_SMALL | {"vocab_size": 200}))


def _added_end(folder: Path) -> Path:
    """The end token was added to the tokenizer, and the embedding has no row for it."""
    write_model(folder)
    tokenizer = byte_tokenizer()
    tokenizer.add_tokens(["<a>", "<b>"])
    tokenizer.add_special_tokens({"eos_token": "<stop>"})
    tokenizer.save_pretrained(folder)
    return folder


def _gguf(**changes: Any) -> Callable[[Path], Path]:
    return lambda folder: write_gguf(folder / "model.gguf", **changes)


def paligemma() -> PaliGemmaConfig:
    """A prefix model: the prompt's tokens see each other."""
    text = {name: value for name, value in _GEMMA.items() if name not in ("sliding_window", "layer_types")}
    vision = SiglipVisionConfig(
        hidden_size=16,
        intermediate_size=20,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=28,
        patch_size=14,
    )
    return PaliGemmaConfig(
        text_config=GemmaConfig(**text).to_dict(),
        vision_config=vision.to_dict(),
        image_token_index=255,
        projection_dim=24,
    )


REFUSED: dict[str, Refused] = {
    # weights that are not the checkpoint's
    "tensor missing": Refused(weights(_without(GATE)), rf"lacks 1 of its 30 tensors: {GATE} \(40 × 24\)"),
    "head missing": Refused(weights(_without("lm_head.weight")), r"lm_head\.weight"),
    "tied embedding missing": Refused(
        weights(_without("model.embed_tokens.weight"), CONFIGS["smollm2"]), r"model\.embed_tokens\.weight"
    ),
    "all renamed": Refused(weights(_prefixed), r"lacks 30 of its 30 tensors.*has these instead: net\."),
    "mis-shaped": Refused(weights(_reshaped), rf"{GATE}.*32 × 24.*40 × 24"),
    "shard missing": Refused(_shard_missing, r"model-00002-of-00002\.safetensors"),
    "index incomplete": Refused(_index_incomplete, r"\d+ of its \d+ tensors"),
    "shard incomplete": Refused(_shard_incomplete, r"1 of its \d+ tensors"),
    "truncated": Refused(_truncated, r"model\.safetensors.*(truncated|incomplete|damaged)"),
    "pickled": Refused(_pickled, r"no weights in model\.safetensors.*pytorch_model\.bin.*save_pretrained"),
    "more layers than configured": Refused(configured(num_hidden_layers=2), r"model\.layers\.2\."),
    "bias that is not configured": Refused(
        weights(_add(model__layers__0__self_attn__q_proj__bias=torch.ones(24))), r"q_proj\.bias"
    ),
    "unmerged adapter": Refused(
        weights(_add(model__layers__0__mlp__up_proj__lora_A__weight=torch.ones(2, 24))), r"lora_A"
    ),
    "int8 without scales": Refused(weights(lambda t: _int8(t, scales=False)), r"gate_proj.*I8.*scales"),
    "int8 with scales that are not applied": Refused(weights(lambda t: _int8(t, scales=True)), r"scale"),
    "float8 without scales": Refused(weights(_float8), r"F8_E4M3"),
    "packed integers": Refused(weights(_packed), r"qweight"),
    "scales missing": Refused(
        lambda folder: _declared_quantized(folder, {"quant_method": "fp8"}), r"F8_E4M3.*scales"
    ),
    "unknown quantization": Refused(
        lambda folder: _declared_quantized(folder, {"quant_method": "own"}), r"F8_E4M3.*scales"
    ),
    "declared quantized, and not": Refused(
        configured(quantization_config={"quant_method": "bitsandbytes", "load_in_8bit": True}),
        r"cannot compute a text.*quantization_config",
    ),
    "not a number": Refused(weights(_nan), r"NaN"),
    "GGUF tensor missing": Refused(_gguf(drop="blk.1.ffn_gate.weight"), r"model\.layers\.1\.mlp\.gate_proj"),
    "GGUF tensor not read": Refused(_gguf(add=("blk.0.attn_q.bias",)), r"blk\.0\.attn_q\.bias"),
    "GGUF frequencies not read": Refused(_gguf(add=("rope_freqs.weight",)), r"rope_freqs\.weight"),
    "GGUF scaling not read": Refused(_gguf(scaling="yarn"), r"llama\.rope\.scaling \(yarn\)"),
    # not a causal model
    "bidirectional Gemma 3": Refused(
        configured(Gemma3TextConfig(**_GEMMA), use_bidirectional_attention=True),
        r"use_bidirectional_attention.*causal",
        by_configuration=True,
    ),
    "is_causal false": Refused(configured(is_causal=False), r"is_causal.*causal", by_configuration=True),
    "prefix_lm": Refused(configured(prefix_lm=True), r"prefix_lm.*causal", by_configuration=True),
    "PaliGemma": Refused(
        lambda folder: write_model(folder, paligemma(), AutoModelForImageTextToText),
        r"use_bidirectional_attention.*causal",
        by_configuration=True,
    ),
    # configurations and names
    "configuration is a list": Refused(_text("config.json", "[]"), r"config\.json", by_configuration=True),
    "configuration is cut": Refused(
        _text("config.json", '{"model_type":'), r"config\.json", by_configuration=True
    ),
    "unknown model type": Refused(configured(model_type="llamo"), r"llamo", by_configuration=True),
    "no model type": Refused(_text("config.json", "{}"), r"model_type", by_configuration=True),
    "width per layer": Refused(
        configured(intermediate_size=[40, 40, 40]), r"intermediate_size", by_configuration=True
    ),
    "heads per layer": Refused(
        configured(num_key_value_heads=[2, 2, 2]), r"num_key_value_heads", by_configuration=True
    ),
    "no heads": Refused(configured(num_attention_heads=0), r"num_attention_heads", by_configuration=True),
    "heads that do not divide": Refused(
        configured(num_attention_heads=5, head_dim=None),
        r"number of attention heads \(5\)",
        by_configuration=True,
    ),
    "key heads that do not divide": Refused(
        configured(num_key_value_heads=3), r"num_key_value_heads", by_configuration=True
    ),
    "width as text": Refused(configured(hidden_size="24"), r"hidden_size", by_configuration=True),
    "width missing": Refused(configured(hidden_size=None), r"hidden_size", by_configuration=True),
    "no layers": Refused(configured(num_hidden_layers=0), r"num_hidden_layers", by_configuration=True),
    "negative vocabulary": Refused(configured(vocab_size=-1), r"vocab_size", by_configuration=True),
    "no tokenizer": Refused(_without_tokenizer, r"tokenizer"),
    "damaged tokenizer": Refused(_text("tokenizer.json", "{"), r"tokenizer"),
    "tokenizer larger than the embedding": Refused(_small_embedding, r"up to id 257, .* 200 rows"),
    "special token beyond the embedding": Refused(_added_end, r"<stop>.*260"),
    "damaged index": Refused(_damaged_index, r"index\.json is damaged"),
    "revision of a folder": Refused(
        write_model, r"revision.*hub", by_configuration=True, options=("--revision", "main")
    ),
    "revision of a file": Refused(
        _gguf(), r"revision.*hub", by_configuration=True, options=("--revision", "v1")
    ),
}
