"""An exported model beside the model that is masked while it runs."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

import culnig
from culnig.models.base import BoundModel
from culnig.models.intervention import intervene
from culnig.selection.neuron_set import NeuronSet
from tests.training.chosen import neuron_set

IDS = torch.arange(3, 15)[None]


def some_of_each_segment(bound: BoundModel) -> NeuronSet:
    """The first, the middle and the last neuron of every module of every layer."""
    flat = {
        own.start + index for own in bound.layout.segments for index in (0, own.width // 2, own.width - 1)
    }
    return neuron_set(bound, bound.layout.neurons(np.array(sorted(flat))))


def save(bound: BoundModel, folder: Path, **options: Any) -> Path:
    """The model as published ones are: as transformers saves it, with its tokenizer."""
    bound.model.save_pretrained(folder, **options)
    bound.tokenizer.save_pretrained(folder)
    return folder


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=IDS, use_cache=False).logits


def plain_logits(folder: Path) -> torch.Tensor:
    """What transformers computes with the model in a folder, without culnig."""
    return logits(AutoModelForCausalLM.from_pretrained(folder).eval())


def exported_difference(bound: BoundModel, factor: float) -> float | None:
    """Largest difference of a logit between an exported model and a masked one, of the largest logit.

    None for text parts that transformers does not load by themselves.
    """
    if type(bound.model.config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        return None
    chosen = some_of_each_segment(bound)
    with tempfile.TemporaryDirectory() as temporary:
        source = save(bound, Path(temporary) / "model")
        out = culnig.export_model(source, chosen, Path(temporary) / "exported", factor=factor)
        exported = plain_logits(out)
    with intervene(bound, chosen, factor):
        masked = logits(bound.model)
    bare = logits(bound.model)
    assert not torch.equal(masked, bare)
    return float((exported - masked).abs().max() / bare.abs().max())
