"""The pools of the paper's six models, from the configurations that come with the program (METHOD §7)."""

from __future__ import annotations

import pytest

from culnig import registry
from culnig.models.carried import configuration_folder
from culnig.models.loading import LoadSettings, load_skeleton
from culnig.planning.memory import plan_memory, weight_bytes
from culnig.planning.plan import count_neurons

PAPER_MODELS = {
    "google/gemma-3-12b-it": (737_280, 393_216, 8_158),
    "google/gemma-3-27b-it": (1_333_248, 507_904, 14_347),
    "Qwen/Qwen3-14B": (696_320, 286_720, 7_536),
    "meta-llama/Llama-3.1-8B-Instruct": (458_752, 196_608, 4_980),
    "microsoft/phi-4": (716_800, 307_200, 7_782),
    "tiiuae/Falcon3-10B-Instruct": (921_600, 204_800, 9_625),
}
"""Neurons of the pools `mlp` and `attention`, and how many of them are general before CountryRC."""

PARAMETERS = {
    "Qwen/Qwen3-14B": 14_768_307_200,
    "meta-llama/Llama-3.1-8B-Instruct": 8_030_261_248,
    "microsoft/phi-4": 14_659_507_200,
    "google/gemma-3-12b-it": 12_187_325_040,
    "google/gemma-3-27b-it": 27_432_406_640,
}
"""As published with the weights."""


@pytest.fixture(scope="module", params=PAPER_MODELS)
def planned(request):
    folder = str(configuration_folder(request.param))
    skeleton = load_skeleton(folder, registry.adapters(), LoadSettings(dtype="bfloat16"))
    return request.param, skeleton.bound, PAPER_MODELS[request.param]


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
