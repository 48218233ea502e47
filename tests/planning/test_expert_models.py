"""Plans for published mixtures of experts, from their sizes, against a calculation by hand.

As in `test_large_models`, whose terms are used: nothing is loaded. Of experts, by hand, in bfloat16:

- weights: each expert has gate, up and down projection; the router has a row for each expert.
- activations, per row (token and one of its experts): gate and up, the activated gate, and the output, which
  is weighted by the router's share. Rows are sorted, so they are of as many tokens as were routed.
- a token's arithmetic is that of its own experts only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from transformers import Glm4MoeConfig, GptOssConfig, MixtralConfig, Qwen3MoeConfig

from culnig import registry
from culnig.models.loading import LoadSettings, load_skeleton
from culnig.planning.memory import plan_memory, table_bytes, weight_bytes
from culnig.planning.plan import count_neurons
from culnig.planning.work import BenchmarkSize, run_flops

N_TOKENS, N_CULTURES = 128, 16

QWEN3_30B = Qwen3MoeConfig(
    vocab_size=151_936,
    hidden_size=2048,
    intermediate_size=6144,
    moe_intermediate_size=768,
    num_hidden_layers=48,
    num_attention_heads=32,
    num_key_value_heads=4,
    head_dim=128,
    num_experts=128,
    num_experts_per_tok=8,
    norm_topk_prob=True,
    max_position_embeddings=40_960,
)
GPT_OSS_20B = GptOssConfig(
    vocab_size=201_088,
    hidden_size=2880,
    intermediate_size=2880,
    num_hidden_layers=24,
    num_attention_heads=64,
    num_key_value_heads=8,
    head_dim=64,
    num_local_experts=32,
    num_experts_per_tok=4,
)
MIXTRAL_8X7B = MixtralConfig(
    vocab_size=32_000,
    hidden_size=4096,
    intermediate_size=14_336,
    num_hidden_layers=32,
    num_attention_heads=32,
    num_key_value_heads=8,
    num_local_experts=8,
    num_experts_per_tok=2,
    sliding_window=None,
)
GLM_45_AIR = Glm4MoeConfig(
    vocab_size=151_552,
    hidden_size=4096,
    intermediate_size=10_944,
    moe_intermediate_size=1408,
    num_hidden_layers=46,
    num_attention_heads=96,
    num_key_value_heads=8,
    head_dim=128,
    n_routed_experts=128,
    n_shared_experts=1,
    num_experts_per_tok=8,
    first_k_dense_replace=1,
    attention_bias=True,
    use_qk_norm=False,
)


@dataclass(frozen=True)
class ByHand:
    """Sizes of a mixture, as published."""

    hidden: int
    layers: int
    queries: int
    keys: int
    experts: int
    of_token: int
    width: int
    vocabulary: int
    shared: int = 0
    """Width of the shared expert of each layer with experts."""
    dense: int = 0
    """Width of the MLP of the first layer, where that has no experts."""
    biases: str = ""
    """What has biases: `qkv`, or `all` linears and experts."""
    more: int = 0
    """Other parameters of a layer: norms beside the two over hidden states, sinks, a router's correction."""

    @property
    def routed_layers(self) -> int:
        return self.layers - bool(self.dense)

    @property
    def neurons(self) -> dict[str, int]:
        experts = self.routed_layers * self.experts * self.width
        mlp = experts + self.routed_layers * self.shared + self.dense
        attention = self.layers * (self.queries + 2 * self.keys)
        return {
            "total": attention + 2 * mlp,
            "mlp": mlp,
            "attention": attention,
            "all": attention + mlp,
            "experts": experts,
        }

    @property
    def attention(self) -> int:
        weights = self.hidden * (2 * self.queries + 2 * self.keys)
        biases = (self.queries + 2 * self.keys) if self.biases else 0
        return weights + biases + (self.hidden if self.biases == "all" else 0)

    @property
    def parameters(self) -> int:
        expert = 3 * self.hidden * self.width
        router = self.experts * self.hidden
        if self.biases == "all":
            expert += 2 * self.width + self.hidden
            router += self.experts
        routed = self.experts * expert + router + 3 * self.hidden * self.shared + self.more
        return (
            self.layers * (self.attention + 2 * self.hidden)
            + self.routed_layers * routed
            + 3 * self.hidden * self.dense
            + (2 * self.vocabulary + 1) * self.hidden
        )

    @property
    def active(self) -> int:
        """Weights that a token is multiplied by in the layers."""
        of_experts = 3 * self.hidden * (self.of_token * self.width + self.shared) + self.experts * self.hidden
        return self.layers * self.attention + self.routed_layers * of_experts + 3 * self.hidden * self.dense


MODELS: dict[str, tuple[Any, ByHand]] = {
    "Qwen3-30B-A3B": (QWEN3_30B, ByHand(2048, 48, 4096, 512, 128, 8, 768, 151_936, more=2 * 128)),
    "gpt-oss-20b": (
        GPT_OSS_20B,
        ByHand(2880, 24, 4096, 512, 32, 4, 2880, 201_088, biases="all", more=64),
    ),
    "Mixtral-8x7B": (MIXTRAL_8X7B, ByHand(4096, 32, 4096, 1024, 8, 2, 14_336, 32_000)),
    "GLM-4.5-Air": (
        GLM_45_AIR,
        ByHand(4096, 46, 12_288, 1024, 128, 8, 1408, 151_552, shared=1408, dense=10_944, biases="qkv"),
    ),
}
EXPERTS = {
    "Qwen3-30B-A3B": 4_718_592,
    "gpt-oss-20b": 2_211_840,
    "Mixtral-8x7B": 3_670_016,
    "GLM-4.5-Air": 8_110_080,
}
"""Layers · experts · width, multiplied out."""


@pytest.fixture(scope="module")
def skeletons(tmp_path_factory):
    made = {}
    for name, (config, _) in MODELS.items():
        folder = tmp_path_factory.mktemp("model") / name
        config.save_pretrained(folder)
        settings = LoadSettings(dtype="bfloat16")
        made[name] = load_skeleton(str(folder), registry.adapters(), settings).bound
    return made


@pytest.mark.parametrize("name", MODELS)
def test_neurons_weights_and_tables_are_those_counted_by_hand(skeletons, name):
    hand, skeleton = MODELS[name][1], skeletons[name]
    assert count_neurons(skeleton) == hand.neurons
    assert hand.neurons["experts"] == EXPERTS[name]
    parameters = sum(own.numel() for own in skeleton.model.parameters())
    assert parameters == hand.parameters
    buffers = sum(own.nbytes for own in skeleton.model.buffers())
    assert weight_bytes(skeleton) == 2 * hand.parameters + buffers
    assert buffers < 1e6
    assert table_bytes(skeleton, N_CULTURES) == 20 * N_CULTURES * hand.neurons["total"]


def test_a_tokens_arithmetic_is_that_of_its_own_experts(skeletons):
    """Two passes of two operations per weight; attention over 128 tokens and the head come on top."""
    hand = MODELS["Mixtral-8x7B"][1]
    flops = run_flops(skeletons["Mixtral-8x7B"], [BenchmarkSize(N_CULTURES, [N_TOKENS] * 10)])
    assert flops == pytest.approx(4 * hand.active * 10 * N_TOKENS, rel=0.05)


def test_memory_of_rows_is_that_counted_by_hand(skeletons):
    """Mixtral, 64 prompts of 128 tokens, two rows for each token."""
    hand, n_tokens = MODELS["Mixtral-8x7B"][1], 64 * N_TOKENS
    memory = plan_memory(skeletons["Mixtral-8x7B"], 64, N_TOKENS, N_CULTURES, on_device=True)
    row = 2 * (3 * hand.width + hand.hidden)
    norms, heads = 4 * 2 * hand.hidden, 4 * 32
    attention = 2 * (2 * hand.queries + 2 * hand.keys) + heads
    kept = hand.layers * (norms + attention + 2 * row)
    gradients = 2 * 3 * 2 * hand.width
    assert memory.activations == pytest.approx(n_tokens * (kept + gradients), rel=0.05)
    assert memory.item_scores == 64 * 4 * hand.neurons["total"]
