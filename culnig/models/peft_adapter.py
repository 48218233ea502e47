"""PEFT adapters (LoRA and others): merged into the weights, so a neuron stays a column of one linear."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from culnig.errors import EnvironmentProblem, InputError, ModelLoadError, argument, listed, option
from culnig.models.checkpoint import has_weights
from culnig.models.loaded import ModelWarning
from culnig.models.settings import LoadSettings

if TYPE_CHECKING:
    from transformers import PreTrainedModel


CONFIG = "adapter_config.json"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "vocab.json", "spiece.model")
CHAT_TEMPLATE = "chat_template.jinja"
WEIGHTS = "adapter_model.safetensors"


def merge_adapter(model: PreTrainedModel, folder: Path) -> PreTrainedModel:
    """The model with the adapter in `folder` merged in; ModelLoadError if it does not belong to it.

    An embedding that was trained with the adapter may have other rows than the base model's; then the model
    is resized first. Everything in the adapter's file must be used, and nothing made up.
    """
    check_adapter_folder(folder)
    from peft import PeftModel

    try:
        _resize_embeddings(model, folder)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Found missing adapter keys")  # an error below
            wrapped = PeftModel.from_pretrained(model, str(folder))
            result = wrapped.load_adapter(str(folder), "default")  # again, for what it says about the names
        # whole modules are stored under names of their own
        unexpected = [name for name in result.unexpected_keys if ".modules_to_save." not in name]
        _check_complete(folder, result.missing_keys, unexpected)
        merged: PreTrainedModel = wrapped.merge_and_unload()
    except ModelLoadError:
        raise
    except Exception as error:  # another model's adapter fails wherever its shapes are first met
        reason = " ".join(str(error).split())[:400]
        raise ModelLoadError(
            f"cannot merge adapter {folder}: {reason}; check that it was trained on this model"
        ) from error
    return merged


def _check_complete(folder: Path, missing: Sequence[str], unexpected: Sequence[str]) -> None:
    for names, problem in (
        (missing, "lacks tensors of the modules that it names"),
        (unexpected, "has tensors that the model has no module for"),
    ):
        if names:
            raise ModelLoadError(
                f"cannot merge adapter {folder}: {WEIGHTS} {problem}: {listed(names)}; check that it is "
                "complete and was trained on this model"
            )


def _resize_embeddings(model: PreTrainedModel, folder: Path) -> None:
    """Give the model as many embeddings as the adapter has trained, where it holds whole embeddings."""
    embeddings = _embeddings(model)
    rows = _trained_rows(model, embeddings, folder)
    own = embeddings["input"].weight.shape[0]
    if not rows or set(rows.values()) == {own}:
        return
    tied = all(module.weight is embeddings["input"].weight for module in embeddings.values())
    if len(set(rows.values())) > 1 or not (tied or rows.keys() == embeddings.keys()):
        given = " and ".join(f"{n_rows} rows for its {kind}" for kind, n_rows in sorted(rows.items()))
        raise ModelLoadError(
            f"cannot merge adapter {folder}: it holds an embedding of {given}, the model has {own}, and the "
            "other rows are in neither; save the adapter with save_embedding_layers=True"
        )
    model.resize_token_embeddings(next(iter(rows.values())), mean_resizing=False)


def _embeddings(model: Any) -> dict[str, Any]:
    """The modules that hold a row per token id: `input`, and `output` where the model has it."""
    modules = {"input": model.get_input_embeddings(), "output": model.get_output_embeddings()}
    return {kind: module for kind, module in modules.items() if module is not None}


def _trained_rows(model: PreTrainedModel, embeddings: dict[str, Any], folder: Path) -> dict[str, int]:
    """Rows of the whole embeddings in an adapter's file, as far as it has them."""
    from safetensors import safe_open

    paths = {id(module): name for name, module in model.named_modules()}
    rows = {}
    with safe_open(folder / WEIGHTS, framework="pt") as file:
        for name in file.keys():  # noqa: SIM118 - not a dictionary
            for kind, module in embeddings.items():
                if name.endswith(f".{paths[id(module)]}.weight"):
                    rows[kind] = int(file.get_slice(name).get_shape()[0])
    return rows


def tokenizer_folder(folder: Path) -> Path | None:
    """The adapter's folder, if it holds a tokenizer."""
    return folder if any((folder / name).is_file() for name in TOKENIZER_FILES) else None


def chat_template(folder: Path) -> str | None:
    """The chat template in an adapter's folder, where it has no tokenizer that holds one."""
    path = folder / CHAT_TEMPLATE
    return path.read_text(encoding="utf-8") if path.is_file() else None


def warn_of_adapter(source: str, settings: LoadSettings) -> None:
    """A ModelWarning where an adapter lies beside the weights of a folder and is not merged."""
    folder = Path(source)
    if not (folder / CONFIG).is_file():
        return
    if settings.adapter is not None and Path(settings.adapter).resolve() == folder.resolve():
        return
    warnings.warn(
        f"{source} holds full weights and an adapter ({CONFIG}); the weights are loaded without the adapter",
        ModelWarning,
        stacklevel=2,
    )


def with_base(source: str, settings: LoadSettings) -> tuple[str, LoadSettings]:
    """Model and settings to load; for the folder of an adapter its base, with the adapter to be merged.

    A folder with full weights is a model, whatever lies beside them. The revision that the adapter names is
    that of a base on the hub.
    """
    folder = Path(source)
    config = folder / CONFIG
    if not config.is_file() or has_weights(folder):
        return source, settings
    if settings.adapter is not None:
        raise InputError(
            f"{source} is an adapter itself; give its base model as {argument('model')} to merge another"
        )
    try:
        document = json.loads(config.read_text(encoding="utf-8"))
        base, revision = document.get("base_model_name_or_path"), document.get("revision")
    except (ValueError, AttributeError) as error:
        raise ModelLoadError(f"{config}: not an adapter's configuration: {error}") from None
    if not isinstance(base, str) or not base:
        raise ModelLoadError(
            f"{config} does not name the model that the adapter was trained on; give that model as "
            f"{argument('model')} and {option('adapter', source)}"
        )
    if (Path(base) / CONFIG).is_file() and not has_weights(Path(base)):
        raise InputError(
            f"{config} names {base} as its base, which is an adapter itself; merge that into its own base "
            f"and save it, then give it as {argument('model')} with {option('adapter', source)}"
        )
    if settings.revision is None and isinstance(revision, str) and not Path(base).exists():
        settings = replace(settings, revision=revision)
    return base, replace(settings, adapter=folder)


def check_adapter_folder(folder: Path) -> None:
    """ModelLoadError if the folder holds no adapter, before any weights are read."""
    if not (folder / CONFIG).is_file():
        raise ModelLoadError(f"{folder} has no adapter_config.json, so it is not a PEFT adapter folder")
    if not (folder / WEIGHTS).is_file():
        raise ModelLoadError(
            f"{folder} has no adapter_model.safetensors; adapters in other formats are not read (.bin files "
            "can run code); save it again with safe_serialization=True"
        )
    try:
        import peft  # noqa: F401
    except ModuleNotFoundError:
        raise EnvironmentProblem("adapters need the package peft; run `pip install peft`") from None
