"""The pools of the paper's six models, from configurations written here (METHOD §7)."""

from __future__ import annotations

import pytest
from transformers import Gemma3Config, LlamaConfig, Phi3Config, Qwen3Config

from culnig import registry
from culnig.models.loading import LoadSettings, load_skeleton
from culnig.planning.memory import plan_memory, weight_bytes
from culnig.planning.plan import count_neurons


def gemma3(**text):
    return Gemma3Config(text_config={"vocab_size": 262_208, **text})


PAPER_MODELS = {
    "gemma-3-12b-it": (
        gemma3(
            hidden_size=3840,
            intermediate_size=15360,
            num_hidden_layers=48,
            num_attention_heads=16,
            num_key_value_heads=8,
            head_dim=256,
        ),
        (737_280, 393_216, 8_158),
    ),
    "gemma-3-27b-it": (
        gemma3(
            hidden_size=5376,
            intermediate_size=21504,
            num_hidden_layers=62,
            num_attention_heads=32,
            num_key_value_heads=16,
            head_dim=128,
        ),
        (1_333_248, 507_904, 14_347),
    ),
    "Qwen3-14B": (
        Qwen3Config(
            vocab_size=151_936,
            hidden_size=5120,
            intermediate_size=17408,
            num_hidden_layers=40,
            num_attention_heads=40,
            num_key_value_heads=8,
            head_dim=128,
        ),
        (696_320, 286_720, 7_536),
    ),
    "Llama-3.1-8B-Instruct": (
        LlamaConfig(
            vocab_size=128_256,
            hidden_size=4096,
            intermediate_size=14336,
            num_hidden_layers=32,
            num_attention_heads=32,
            num_key_value_heads=8,
        ),
        (458_752, 196_608, 4_980),
    ),
    "phi-4": (
        Phi3Config(
            vocab_size=100_352,
            hidden_size=5120,
            intermediate_size=17920,
            num_hidden_layers=40,
            num_attention_heads=40,
            num_key_value_heads=10,
            pad_token_id=None,
        ),
        (716_800, 307_200, 7_782),
    ),
    "Falcon3-10B-Instruct": (
        LlamaConfig(
            vocab_size=131_072,
            hidden_size=3072,
            intermediate_size=23040,
            num_hidden_layers=40,
            num_attention_heads=12,
            num_key_value_heads=4,
            head_dim=256,
        ),
        (921_600, 204_800, 9_625),
    ),
}

PARAMETERS = {"Qwen3-14B": 14_768_307_200, "Llama-3.1-8B-Instruct": 8_030_261_248, "phi-4": 14_659_507_200}
"""As published with the weights."""


@pytest.fixture(scope="module", params=PAPER_MODELS)
def planned(request, tmp_path_factory):
    config, pools = PAPER_MODELS[request.param]
    folder = tmp_path_factory.mktemp(request.param)
    config.save_pretrained(folder)
    skeleton = load_skeleton(str(folder), registry.adapters(), LoadSettings(dtype="bfloat16"))
    return request.param, skeleton.bound, pools


def test_pools_are_exactly_the_papers(planned):
    _, skeleton, (mlp, attention, general) = planned
    neurons = count_neurons(skeleton)
    assert (neurons["mlp"], neurons["attention"]) == (mlp, attention)
    assert neurons["all"] == mlp + attention
    assert neurons["total"] == 2 * mlp + attention, "up projections are scored beside the pools"
    assert int(0.01 * mlp) + int(0.002 * attention) == general


def test_memory_is_weights_and_a_batch(planned):
    name, skeleton, _ = planned
    parameters = sum(parameter.numel() for parameter in skeleton.model.parameters())
    assert parameters == PARAMETERS.get(name, parameters)
    memory = plan_memory(skeleton, 1, 200, 16, on_device=True)
    assert memory.weights == pytest.approx(2 * parameters, rel=1e-3)
    assert memory.score_tables == 16 * skeleton.layout.n_neurons * 20
    # between hidden states alone and a tenth of the weights
    hidden = skeleton.model.config.get_text_config().hidden_size
    assert 200 * hidden * 2 * skeleton.layout.n_layers < memory.activations < memory.weights / 4
    assert 0 <= memory.capture < memory.activations, "fused projections are kept by autograd anyway"
    of_batch = memory.activations + memory.capture + memory.item_scores
    assert memory.item_scores == 4 * skeleton.layout.n_neurons, "one item"
    assert memory.device_peak == memory.weights + memory.score_tables + of_batch
    assert 0.2 < weight_bytes(skeleton, "4bit") / memory.weights < 0.5
