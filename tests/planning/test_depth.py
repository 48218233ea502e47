"""Traces of a few layers give what a trace of the whole model gives."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM, Glm4MoeConfig

from culnig import registry
from culnig.inference.live_bytes import LiveBytes
from culnig.models.base import bind_model
from culnig.models.without_values import WithoutValues
from culnig.planning import tracing
from culnig.planning.depth import over_all_layers
from tests.tiny_models import ALL_CONFIGS, _attention

N_LAYERS = 11
ALIKE = ("llama", "gpt2", "qwen3")
DIFFERENT = "gemma3"
"""Of three layers two have a sliding window."""
DEPTHS = (2, 3, 4)
"""Numbers of layers that stand for all."""


def skeleton(family, n_layers=N_LAYERS):
    config = copy.deepcopy(ALL_CONFIGS[family])
    config.num_hidden_layers = n_layers
    if getattr(config, "layer_types", None):
        config.layer_types = [config.layer_types[number % 3] for number in range(n_layers)]
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, **_attention(family))
    return bind_model(family, model.eval(), None, registry.adapters())


def depths_traced(bound):
    """The numbers of layers that were there at each trace."""
    depths = []

    def trace():
        lists = [module for module in bound.model.modules() if isinstance(module, nn.ModuleList)]
        depths.append(len(lists[0]))
        return depths[-1] * 10 + 7

    assert over_all_layers(bound, trace) == bound.layout.n_layers * 10 + 7
    return depths


def whole(bound, **options):
    """The peak of a trace that does not go through `over_all_layers`."""
    with LiveBytes(bound.model) as live, WithoutValues(), tracing._fused_attention():
        tracing._run(bound, 3, 40, **options)
    return live.peak


@pytest.mark.parametrize("family", ALIKE)
@pytest.mark.parametrize(
    "options",
    [
        {"capture": True, "checkpointing": False},
        {"capture": False, "checkpointing": False},
        {"capture": True, "checkpointing": True},
    ],
)
def test_few_layers_give_the_peak_of_all(family, options):
    bound = skeleton(family)
    assert tracing.peak_batch_bytes(bound, 3, 40, **options) == whole(bound, **options)


@pytest.mark.parametrize("family", ALIKE)
def test_few_layers_are_traced_where_all_are_alike(family):
    bound = skeleton(family)
    assert depths_traced(bound) == list(DEPTHS)
    assert depths_traced(bound) == list(DEPTHS)  # the layers came back


def test_layers_of_two_kinds_are_traced_in_whole_turns_where_that_is_less():
    assert depths_traced(skeleton(DIFFERENT)) == [N_LAYERS]  # 5 + 8 + 11 would be more
    assert depths_traced(skeleton(DIFFERENT, 16)) == [16]  # 4 + 7 + 10 too
    deep = skeleton(DIFFERENT, 26)
    assert depths_traced(deep) == [5, 8, 11]
    assert tracing.peak_batch_bytes(deep, 3, 40) == whole(deep, capture=True, checkpointing=False)


def test_layers_of_two_kinds_grow_evenly_once_both_are_there(monkeypatch):
    """Masks and angles of a kind are held from its first layer on: two layers of the first kind lack them."""
    traced, run = [], tracing._run
    deep = skeleton(DIFFERENT, 26)

    def counted(bound, *arguments, **options):
        traced.append(len(bound.model.model.layers))
        return run(bound, *arguments, **options)

    monkeypatch.setattr(tracing, "_run", counted)
    tracing.peak_batch_bytes(deep, 3, 40)
    assert traced == [5, 8, 11]


def test_a_first_layer_of_its_own_is_traced_with_those_that_are_alike():
    """GLM-4.5 and DeepSeek: no experts in the first layer."""
    sizes = {"num_hidden_layers": 13, "first_k_dense_replace": 1}
    config = Glm4MoeConfig(
        **sizes, vocab_size=64, hidden_size=16, intermediate_size=24, moe_intermediate_size=8,
        num_attention_heads=2, num_key_value_heads=1, head_dim=8, n_routed_experts=4, num_experts_per_tok=2,
        n_group=1, topk_group=1,
    )  # fmt: skip
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    bound = bind_model("glm", model.eval(), None, registry.adapters())
    assert depths_traced(bound) == [3, 4, 5]
    for options in ({"capture": True, "checkpointing": False}, {"capture": True, "checkpointing": True}):
        assert tracing.peak_batch_bytes(bound, 3, 40, **options) == whole(bound, **options)


def test_the_first_layers_are_those_of_a_shorter_model():
    """What one of several devices holds."""
    for family, n in (("llama", 5), (DIFFERENT, 4)):
        found = tracing.peaks_by_depth(skeleton(family, 17), 3, 40, [n, 17])
        assert found[0] == whole(skeleton(family, n), capture=True, checkpointing=False) < found[1]


def test_a_layer_of_another_width_is_noticed():
    bound = skeleton("llama")
    layer = bound.model.model.layers[-1]
    layer.mlp.down_proj = nn.Linear(41, 24, bias=False, device="meta")
    assert depths_traced(bound) == [N_LAYERS]


def test_a_setting_of_one_layer_is_noticed():
    bound = skeleton("llama")
    bound.model.model.layers[-1].self_attn.is_causal = False
    assert depths_traced(bound) == [N_LAYERS]


def test_counts_that_do_not_grow_evenly_are_not_extrapolated():
    bound = skeleton("llama")
    count = lambda: len(bound.model.model.layers) ** 2  # noqa: E731
    assert over_all_layers(bound, count) == N_LAYERS**2


def test_an_error_of_a_trace_leaves_the_model_whole():
    bound = skeleton("llama")

    def fail():
        raise RuntimeError("no memory")

    with pytest.raises(RuntimeError):
        over_all_layers(bound, fail)
    assert len(bound.model.model.layers) == N_LAYERS
