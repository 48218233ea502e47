"""Plans for models of 8 to 70 billion parameters, against a calculation by hand.

The configurations are those of the published models; nothing is loaded. By hand, in bytes, for bfloat16
weights that take no gradient:

- weights: 2 for every parameter.
- activations, per token and layer: autograd keeps what a product or a non-linear function needs, in the
  format in which it computed it. A norm keeps its input in float32. Attention keeps the rotated queries and
  keys, the values, its output and one float32 per head. The MLP keeps the gate before and after its
  activation function, and the up projection. A linear module with a frozen weight keeps nothing.
- capture, per token and layer: queries and keys before their rotation (and norm). All other outputs of
  modules are kept by autograd anyway.
- a layer's gradients, at the peak: of gate, activated gate and up projection, in one layer at a time.
- scores, per item: float32 for every neuron. Tables: 20 for every neuron and culture.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from transformers import LlamaConfig

from culnig import registry
from culnig.models.carried import configuration_folder
from culnig.models.loading import LoadSettings, load_skeleton
from culnig.planning import choice
from culnig.planning.choice import Machine, fastest, find_options
from culnig.planning.memory import BatchBytes, batch_bytes, plan_memory, table_bytes, weight_bytes
from culnig.planning.work import BenchmarkSize, run_flops

N_TOKENS, N_ITEMS, N_CULTURES = 128, 400, 16

LLAMA_70B = LlamaConfig(
    vocab_size=128_256,
    hidden_size=8192,
    intermediate_size=28672,
    num_hidden_layers=80,
    num_attention_heads=64,
    num_key_value_heads=8,
)


@dataclass(frozen=True)
class ByHand:
    """Widths of a model, from its configuration as published."""

    hidden: int
    mlp: int
    layers: int
    heads: int
    queries: int
    keys: int
    vocabulary: int
    norms: int = 2
    """Norms of a layer over its hidden states."""
    head_norms: bool = False
    """Whether queries and keys have a norm of their own."""
    tied: bool = False
    vision: int = 0
    """Parameters of an image tower, which is loaded and not used: layers, positions, patches, projection."""

    @property
    def layer_parameters(self):
        """Of the linear modules: queries and output, keys and values, three of the MLP."""
        return self.hidden * (2 * self.queries + 2 * self.keys + 3 * self.mlp)

    @property
    def parameters(self):
        return (
            self.layers * self.layer_parameters
            + (1 if self.tied else 2) * self.vocabulary * self.hidden
            + self.vision
        )

    @property
    def neurons(self):
        return self.layers * (2 * self.mlp + self.queries + 2 * self.keys)

    @property
    def tables(self):
        return 20 * N_CULTURES * self.neurons

    @property
    def token_and_layer(self):
        norms = 4 * self.norms * self.hidden + (4 * (self.queries + self.keys) if self.head_norms else 0)
        attention = 2 * (2 * self.queries + 2 * self.keys) + 4 * self.heads
        return norms + attention + 3 * 2 * self.mlp + self.capture

    @property
    def capture(self):
        return 2 * (self.queries + self.keys)

    def token(self, layers):
        """Bytes of a batch per token."""
        gradients = 3 * 2 * self.mlp
        return layers * self.token_and_layer + gradients + 4 * self.neurons / N_TOKENS

    def checkpointed_token(self):
        """Every layer's input in bfloat16, a copy of the first one, and all of one layer."""
        gradients = 3 * 2 * self.mlp
        return (
            (self.layers + 1) * 2 * self.hidden
            + self.token_and_layer
            + gradients
            + 4 * self.neurons / N_TOKENS
        )

    def budget(self, gigabytes):
        """Tokens that fit on one device beside the weights; nine tenths of it can be used."""
        return (0.9e9 * gigabytes - 2 * self.parameters - self.tables) / self.token(self.layers)

    def budget_spread(self, gigabytes, n):
        """The same for the fullest of `n` devices: a share of the weights and layers, and one layer more."""
        weights = 2 * (self.parameters / n + self.layer_parameters)
        return (0.9e9 * gigabytes - weights - self.tables) / self.token(self.layers // n + 1)

    @property
    def operations(self):
        """Two passes of two operations per parameter and token."""
        return 4 * self.layers * self.layer_parameters * N_ITEMS * N_TOKENS

    def time(self, budget):
        """A batch costs 256 tokens more than it has."""
        return 1 + 256 / min(16384, budget)


MODELS = {
    "8B": ("meta-llama/Llama-3.1-8B-Instruct", ByHand(4096, 14336, 32, 32, 4096, 1024, 128_256)),
    "14B": ("Qwen/Qwen3-14B", ByHand(5120, 17408, 40, 40, 5120, 1024, 151_936, head_norms=True)),
    "27B": (
        "google/gemma-3-27b-it",
        ByHand(
            *(5376, 21504, 62, 32, 4096, 2048, 262_208),
            norms=4,
            head_norms=True,
            tied=True,
            vision=27 * (4 * 1152**2 + 2 * 1152 * 4304) + (4096 + 3 * 14**2 + 5376) * 1152,
        ),
    ),
    "70B": (LLAMA_70B, ByHand(8192, 28672, 80, 64, 8192, 1024, 128_256)),
}


DIVISIONS = {"8B": [1, 2, 4, 8], "14B": [1], "27B": [1], "70B": [1, 2, 4, 8]}
"""Numbers of devices that a process is spread over."""


@pytest.fixture(scope="module")
def skeletons(tmp_path_factory):
    found = {}
    for name, (config, _) in MODELS.items():
        folder = configuration_folder(config) if isinstance(config, str) else tmp_path_factory.mktemp(name)
        if not isinstance(config, str):
            config.save_pretrained(folder)
        settings = LoadSettings(dtype="bfloat16")
        found[name] = load_skeleton(str(folder), registry.adapters(), settings).bound
    return found


@pytest.fixture(scope="module")
def traced(skeletons):
    """Bytes of batches by model, checkpointing and number of devices: each traced once for all machines.

    With checkpointing only 8B is traced; the others have what is counted by hand.
    """
    found = {}
    for name, skeleton in skeletons.items():
        hand, divisions = MODELS[name][1], DIVISIONS[name]
        by_hand = {n: BatchBytes(0, hand.checkpointed_token() * N_TOKENS) for n in divisions}
        found[name] = {True: by_hand, False: batch_bytes(skeleton, N_TOKENS, divisions, on_device=True)}
    found["8B"][True] = batch_bytes(
        skeletons["8B"], N_TOKENS, DIVISIONS["8B"], on_device=True, checkpointing=True
    )
    return found


@pytest.fixture
def options(skeletons, traced, monkeypatch):
    def find(name, gigabytes, n_devices=1):
        def known(skeleton, n_tokens, n_devices, *, on_device, checkpointing):
            return {n: traced[name][checkpointing][n] for n in n_devices}

        monkeypatch.setattr(choice, "batch_bytes", known)
        machine = Machine(gigabytes * 10**9, n_devices)
        spent = table_bytes(skeletons[name], N_CULTURES)
        return find_options(skeletons[name], machine, spent, N_TOKENS, None, False)

    return find


@pytest.mark.parametrize("name", MODELS)
def test_weights_and_tables_are_those_counted_by_hand(skeletons, name):
    hand, skeleton = MODELS[name][1], skeletons[name]
    assert weight_bytes(skeleton) == pytest.approx(2 * hand.parameters, rel=0.005)
    assert table_bytes(skeleton, N_CULTURES) == hand.tables


@pytest.mark.parametrize("gigabytes", [80, 141])
@pytest.mark.parametrize("name", ["8B", "14B", "27B"])
def test_budgets_for_one_device_are_those_made_by_hand(options, name, gigabytes):
    hand, found = MODELS[name][1], options(name, gigabytes)
    plain, checkpointed = found[:2]
    assert plain.token_budget == pytest.approx(hand.budget(gigabytes), rel=0.02, abs=N_TOKENS)
    assert plain.time == pytest.approx(hand.time(hand.budget(gigabytes)), rel=0.02)
    by_hand = (0.9e9 * gigabytes - 2 * hand.parameters - hand.tables) / hand.checkpointed_token()
    assert checkpointed.token_budget == pytest.approx(by_hand, rel=0.02)
    assert checkpointed.time == pytest.approx(1.5 * hand.time(by_hand), rel=0.02)
    assert fastest(found) == plain


def test_parts_and_time_of_8b_are_those_counted_by_hand(skeletons):
    """64 prompts of 128 tokens: 4.8 MB a token, 28 GFLOP a token."""
    hand, n_tokens = MODELS["8B"][1], 64 * N_TOKENS
    memory = plan_memory(skeletons["8B"], 64, N_TOKENS, N_CULTURES, on_device=True)
    assert memory.capture == pytest.approx(n_tokens * hand.layers * hand.capture, rel=0.05)
    kept = hand.layers * (hand.token_and_layer - hand.capture) + 6 * hand.mlp
    assert memory.activations == pytest.approx(n_tokens * kept, rel=0.03)
    assert memory.item_scores == 64 * 4 * hand.neurons
    flops = run_flops(skeletons["8B"], [BenchmarkSize(N_CULTURES, [N_TOKENS] * N_ITEMS)])
    assert flops == pytest.approx(hand.operations, rel=0.05)


@pytest.mark.parametrize(
    ("gigabytes", "n", "devices_each", "launch"),
    [(80, 4, 4, ""), (141, 2, 2, ""), (80, 8, 4, "2 shards, each with 4 GPUs"), (141, 8, 2, "4 shards")],
)
def test_70b_is_spread_over_as_few_devices_as_hold_it(options, gigabytes, n, devices_each, launch):
    """Processes of their own take the devices that are left: a device map makes nothing faster."""
    hand, found = MODELS["70B"][1], options("70B", gigabytes, n)
    plain = found[0]
    assert (plain.devices_each, plain.n_processes) == (devices_each, n // devices_each)
    budget = hand.budget_spread(gigabytes, devices_each)
    assert plain.token_budget == pytest.approx(budget, rel=0.03, abs=N_TOKENS)
    assert plain.time == pytest.approx(hand.time(budget) * devices_each / n, rel=0.02)
    assert plain.settings[0] == "--device-map auto"
    assert plain.launch.startswith(launch)
    assert bool(plain.launch) == bool(launch)
    assert fastest(found) == plain


def test_70b_on_one_device_needs_quantized_weights(options):
    assert fastest(options("70B", 80)).settings[0] == "--quantize 4bit"


def test_8b_on_several_devices_has_a_process_on_each(options):
    (found, *_), (alone, *_) = options("8B", 80, 8), options("8B", 80)
    assert found.launch == "torchrun --nproc-per-node 8 -m culnig score"
    assert (found.token_budget, found.time) == (alone.token_budget, alone.time / 8)
