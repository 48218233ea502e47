"""Layers without their kernels: counted by hand on a toy, and said of real families where it is so."""

from __future__ import annotations

from typing import Any, cast

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM

from culnig import registry
from culnig.core.neurons import MLP_GATE, QUERY, Layout, Segment
from culnig.models.base import BoundLinear, BoundModel, BoundSlice, bind_model
from culnig.models.fallbacks import slow_mixers
from tests.families import configuration
from tests.tiny_models import tiny_model


class Adding(nn.Module):
    """Starts so many operations."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times
        self.projection = nn.Linear(2, 2)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        for _ in range(self.times):
            states = states + 1
        return states


class Toy(nn.Module):
    def __init__(self, of_mixer: int, of_attention: int) -> None:
        super().__init__()
        self.mixer, self.other_mixer = Adding(of_mixer), Adding(of_mixer + 10)
        self.attention, self.mlp = Adding(of_attention), Adding(500)

    def forward(self, input_ids: torch.Tensor, use_cache: bool) -> torch.Tensor:
        states = input_ids.float()
        for part in self.children():
            states = part(states)
        return states


def toy(of_mixer: int, of_attention: int) -> BoundModel:
    with torch.device("meta"):
        model = Toy(of_mixer, of_attention)
    modules = ("mixer.in_proj", "mixer.in_proj", QUERY, MLP_GATE)
    segments = [Segment(module, layer, 0, 2) for layer, module in enumerate(modules)]
    linears = [
        BoundLinear(part.projection, (BoundSlice(own, 0),))
        for part, own in zip(cast(Any, model.children()), segments, strict=True)
    ]
    return BoundModel("toy", "toy", cast(Any, model), cast(Any, None), Layout.of(segments), tuple(linears))


def test_operations_of_mixers_and_attention_are_counted_by_hand() -> None:
    """35 and 45 operations of the mixers, 4 of attention; those of the MLP do not count."""
    said = slow_mixers(toy(35, 4))
    assert said is not None
    assert said.startswith("2 layers (mixer, other_mixer) run without the kernels made for them")
    assert "each starts 40 operations, an attention layer 4 (10.0 ×)" in said


def test_mixers_that_start_as_few_operations_as_attention_are_not_slow() -> None:
    assert slow_mixers(toy(5, 8)) is None


@pytest.mark.parametrize(("family", "is_slow"), [("jamba", True), ("qwen3_next", True), ("lfm2", False)])
def test_families(family: str, is_slow: bool) -> None:
    """Jamba's goes through the tokens in a loop, Qwen3-Next's through chunks of them."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(configuration(family)).eval()
    said = slow_mixers(bind_model(family, model, cast(Any, None), registry.adapters()))
    assert (said is not None) is is_slow, said


def test_a_model_with_attention_alone_is_not_slow() -> None:
    assert slow_mixers(tiny_model()) is None
