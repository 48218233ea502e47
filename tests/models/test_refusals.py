"""What cannot be bound is refused, with the part that is in the way and where to go from there."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, MambaConfig

from culnig import registry
from culnig.errors import BindingError
from culnig.models.base import ModelAdapter, ModuleSlice, bind_model
from culnig.models.gated_decoder import GatedDecoder
from tests.families import configuration
from tests.tiny_models import CONFIGS, byte_tokenizer

SMALL = {
    "vocab_size": 32,
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "pad_token_id": 0,
    "bos_token_id": None,
    "eos_token_id": 1,
}


def skeleton(config):
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config)


def bind(model, adapters=None):
    return bind_model("some/model", model, byte_tokenizer(), adapters or registry.adapters())


def test_another_structure_says_which_part_was_not_found_and_points_to_the_guide():
    config = MambaConfig(hidden_size=8, state_size=4, num_hidden_layers=2, vocab_size=32)
    with pytest.raises(BindingError) as refused:
        bind(skeleton(config))
    message = str(refused.value)
    assert "'some/model' (MambaForCausalLM) fits no adapter" in message
    assert "gated-decoder, plain-decoder: no layer has an MLP" in message
    assert "its layers have mixer.in_proj" in message
    assert "docs/models.md" in message


def test_a_model_without_layers_says_which_stacks_it_has():
    model = torch.nn.Module()
    model.blocks = torch.nn.ModuleList([torch.nn.Sequential(torch.nn.Linear(2, 2))])
    model.config = LlamaConfig(**SMALL)
    with pytest.raises(BindingError, match=r"expected one stack of layers with .* among `blocks` \(0\)"):
        bind(model)


def test_experts_in_a_form_of_their_own_are_refused_with_the_reason():
    with pytest.raises(BindingError, match=r"layer 0 routes tokens to experts in a way of its own \(Dbrx"):
        bind(skeleton(configuration("dbrx")))


class Broken(ModelAdapter):
    name = "broken"
    summary = "raises"

    def bind(self, model, config):
        raise ZeroDivisionError("oh")


class Overlapping(ModelAdapter):
    name = "overlapping"
    summary = "claims columns twice"
    first, second = (0, 4), (3, 4)

    def bind(self, model, config):
        linear = model.get_submodule("model.layers.0.mlp.gate_proj")
        return [
            ModuleSlice(linear, module, 0, *where)
            for module, where in (("mlp.gate_proj", self.first), ("mlp.up_proj", self.second))
        ]


class TooWide(Overlapping):
    second = (36, 5)


class NotLinear(ModelAdapter):
    name = "not-linear"
    summary = "binds a norm"

    def bind(self, model, config):
        return [ModuleSlice(model.get_submodule("model.norm"), "mlp.gate_proj", 0, 0, 4)]


def test_an_adapter_that_raises_costs_only_its_own_families():
    model = skeleton(CONFIGS["llama"])
    assert bind(model, [Broken(), GatedDecoder()]).adapter == "gated-decoder"
    with pytest.raises(BindingError, match=r"broken: failed with ZeroDivisionError: oh"):
        bind(model, [Broken()])


@pytest.mark.parametrize(
    ("adapter", "message"),
    [
        (Overlapping(), "takes columns that belong to another module"),
        (TooWide(), "takes columns 36 to 40 of a linear module with 40 outputs"),
        (NotLinear(), "is a LlamaRMSNorm, not a linear module"),
    ],
)
def test_what_an_adapter_declares_is_checked_against_the_weights(adapter, message):
    with pytest.raises(BindingError, match=message):
        bind(skeleton(CONFIGS["llama"]), [adapter])
