"""PEFT adapters (LoRA and its kin): merged into the weights, so a neuron stays a column of one linear."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from culnig.errors import EnvironmentProblem, ModelLoadError

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def merge_adapter(model: PreTrainedModel, folder: Path) -> PreTrainedModel:
    """The model with the adapter in `folder` merged in; ModelLoadError where it does not belong to it."""
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


def check_adapter_folder(folder: Path) -> None:
    """Refuse what is no adapter, before any weights are read."""
    if not (folder / "adapter_config.json").is_file():
        raise ModelLoadError(f"{folder}: no adapter_config.json there, so it is no PEFT adapter folder")
    if not (folder / "adapter_model.safetensors").is_file():
        raise ModelLoadError(
            f"{folder}: no adapter_model.safetensors there; adapters in other formats are not read (.bin "
            "files can run code), save it again with safe_serialization=True"
        )
    try:
        import peft  # noqa: F401
    except ModuleNotFoundError:
        raise EnvironmentProblem("adapters need the package peft; run `pip install peft`") from None
