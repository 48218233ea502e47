"""Biases for modules that have none, so that a neuron can be given a mean in the weights.

Whether a family's modules have biases is a setting of its configuration (`attention_bias`, `mlp_bias` …). A
setting is used if switching it on adds biases to the model and changes nothing else; biases that are not set
to a mean are zero.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from culnig.errors import BindingError, InputError, listed
from culnig.models.base import bind_model
from culnig.models.checkpoint import FLOATS, INDEX, SINGLE, StoredTensor
from culnig.store.files import copy_contents, remove, write_text, write_with

if TYPE_CHECKING:
    import torch

    from culnig.models.base import BoundModel, ModelAdapter

BIASES_FILE = "model-biases.safetensors"
_FIRST_FILE = "model-weights.safetensors"
"""What a checkpoint of a single file is called once there are two: transformers reads `model.safetensors` alone."""  # noqa: E501


class AddedBiases(NamedTuple):
    """Settings of the configuration, and the biases that the model has with them."""

    settings: tuple[str, ...]
    shapes: dict[str, tuple[int, ...]]
    """By the parameter's name in the model."""


def biases_for(skeleton: BoundModel, adapters: Sequence[ModelAdapter], missing: set[str]) -> AddedBiases:
    """Settings with which the modules in `missing` (paths in the model) have biases.

    InputError, which names the modules, if the family has no such setting.
    """
    model: Any = skeleton.model
    before = {name: tuple(own.shape) for name, own in model.state_dict().items()}
    settings: list[str] = []
    shapes: dict[str, tuple[int, ...]] = {}
    text = model.config.get_text_config()
    for name in sorted(
        key for key, value in text.to_dict().items() if key.endswith("bias") and value is False
    ):
        added = _added(skeleton, adapters, name, before)
        if any(f"{path}.bias" in added for path in missing):
            settings.append(name)
            shapes |= added
    without = {path for path in missing if f"{path}.bias" not in shapes}
    if without:
        raise InputError(
            f"{listed(without)} cannot have a bias in a {type(model).__name__}, so a mean cannot be written "
            "into its weights; export with a factor, or mask with the mean through culnig.intervene"
        )
    return AddedBiases(tuple(settings), shapes)


def _added(
    skeleton: BoundModel,
    adapters: Sequence[ModelAdapter],
    setting: str,
    before: Mapping[str, tuple[int, ...]],
) -> dict[str, tuple[int, ...]]:
    """Biases that a setting adds; none where it changes anything else."""
    import torch

    model: Any = skeleton.model
    config = deepcopy(model.config)
    setattr(config.get_text_config(), setting, True)
    try:
        with torch.device("meta"):
            changed = type(model)._from_config(config)
        bound = bind_model(skeleton.source, changed, skeleton.tokenizer, adapters)
    except (BindingError, TypeError, ValueError, AttributeError):
        return {}
    after = {name: tuple(own.shape) for name, own in changed.state_dict().items()}
    added = {name: shape for name, shape in after.items() if name not in before}
    same = all(after.get(name) == shape for name, shape in before.items())
    biases_only = all(name.endswith(".bias") and len(shape) == 1 for name, shape in added.items())
    return added if same and biases_only and bound.layout.hash == skeleton.layout.hash else {}


def write_biases(
    folder: Path,
    biases: Mapping[str, torch.Tensor],
    settings: Sequence[str],
    files: Mapping[str, StoredTensor],
) -> None:
    """Add biases, by their names in the checkpoint, to a model folder, and switch their settings on."""
    from safetensors.torch import save

    weights = {name: own.path.name for name, own in files.items()}
    if (folder / SINGLE).is_file():
        copy_contents(folder / SINGLE, folder / _FIRST_FILE)
        remove(folder / SINGLE)
        weights = dict.fromkeys(weights, _FIRST_FILE)
    write_with(folder / BIASES_FILE, lambda file: file.write(save(dict(biases), {"format": "pt"})))
    total = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    index = {
        "metadata": {"total_size": total},
        "weight_map": weights | dict.fromkeys(biases, BIASES_FILE),
    }
    write_text(folder / INDEX, json.dumps(index, indent=2) + "\n")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    part = config.get("text_config", config)
    part |= dict.fromkeys(settings, True)
    write_text(folder / "config.json", json.dumps(config, indent=2) + "\n")


def empty_biases(
    added: AddedBiases, plain: Mapping[str, str], files: Mapping[str, StoredTensor]
) -> dict[str, torch.Tensor]:
    """Zero biases by their names in the checkpoint, in the number format of the weights beside them."""
    import torch

    biases = {}
    for name, shape in added.shapes.items():
        weight = plain.get(f"{name.removesuffix('.bias')}.weight")
        if weight is None:
            raise InputError(
                f"{name} has no weight of its own in the checkpoint, so a bias cannot be added to it; load "
                "the model with transformers, save it with save_pretrained, and export from that folder"
            )
        kind = getattr(torch, FLOATS[files[weight].number_format])
        biases[f"{weight.removesuffix('.weight')}.bias"] = torch.zeros(shape, dtype=kind)
    return biases
