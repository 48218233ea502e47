"""PEFT adapters (LoRA and others): merged into the weights, so a neuron stays a column of one linear."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from culnig.errors import EnvironmentProblem, InputError, ModelLoadError, argument, option
from culnig.models.settings import LoadSettings

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def merge_adapter(model: PreTrainedModel, folder: Path) -> PreTrainedModel:
    """The model with the adapter in `folder` merged in; ModelLoadError if it does not belong to it."""
    check_adapter_folder(folder)
    from peft import PeftModel

    try:
        merged: PreTrainedModel = PeftModel.from_pretrained(model, str(folder)).merge_and_unload()
    except Exception as error:  # another model's adapter fails wherever its shapes are first met
        reason = " ".join(str(error).split())[:400]
        raise ModelLoadError(
            f"cannot merge adapter {folder}: {reason}; check that it was trained on this model"
        ) from error
    return merged


def with_base(source: str, settings: LoadSettings) -> tuple[str, LoadSettings]:
    """Model and settings to load; for the folder of an adapter its base, with the adapter to be merged."""
    folder = Path(source)
    config = folder / "adapter_config.json"
    if not config.is_file() or (folder / "config.json").exists():
        return source, settings
    if settings.adapter is not None:
        raise InputError(
            f"{source} is an adapter itself; give its base model as {argument('model')} to merge another"
        )
    try:
        base = json.loads(config.read_text(encoding="utf-8")).get("base_model_name_or_path")
    except (ValueError, AttributeError) as error:
        raise ModelLoadError(f"{config}: not an adapter's configuration: {error}") from None
    if not isinstance(base, str) or not base:
        raise ModelLoadError(
            f"{config} does not name the model that the adapter was trained on; give that model as "
            f"{argument('model')} and {option('adapter', source)}"
        )
    return base, replace(settings, adapter=folder)


def check_adapter_folder(folder: Path) -> None:
    """ModelLoadError if the folder holds no adapter, before any weights are read."""
    if not (folder / "adapter_config.json").is_file():
        raise ModelLoadError(f"{folder} has no adapter_config.json, so it is not a PEFT adapter folder")
    if not (folder / "adapter_model.safetensors").is_file():
        raise ModelLoadError(
            f"{folder} has no adapter_model.safetensors; adapters in other formats are not read (.bin files "
            "can run code); save it again with safe_serialization=True"
        )
    try:
        import peft  # noqa: F401
    except ModuleNotFoundError:
        raise EnvironmentProblem("adapters need the package peft; run `pip install peft`") from None
