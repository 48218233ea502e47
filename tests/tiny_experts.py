"""Tiny random models whose layers route tokens to experts."""

from __future__ import annotations

from copy import deepcopy
from types import MethodType
from typing import Any

import torch
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    Glm4MoeConfig,
    GptOssConfig,
    Llama4TextConfig,
    MixtralConfig,
    NemotronHConfig,
    OlmoeConfig,
    Qwen3MoeConfig,
)

from culnig import registry
from culnig.core.neurons import EXPERTS_UP, Neuron
from culnig.models.base import BoundModel, ModelAdapter, bind_model
from culnig.models.experts import expert_slices, use_projections
from tests.tiny_models import byte_tokenizer

SMALL: dict[str, Any] = {
    "vocab_size": 260,
    "hidden_size": 24,
    "intermediate_size": 10,
    "moe_intermediate_size": 10,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "num_experts_per_tok": 2,
    "max_position_embeddings": 256,
    "pad_token_id": 0,
    "bos_token_id": None,
    "eos_token_id": 1,
    "initializer_range": 0.3,
}
CONFIGS = {
    "mixtral": MixtralConfig(**SMALL, num_local_experts=4),
    "qwen3_moe": Qwen3MoeConfig(**SMALL, num_experts=5, norm_topk_prob=True),
    "olmoe": OlmoeConfig(**(SMALL | {"head_dim": 6}), num_experts=4),
    "gpt_oss": GptOssConfig(**SMALL, num_local_experts=4),
    "llama4": Llama4TextConfig(
        **SMALL, num_local_experts=4, intermediate_size_mlp=12, interleave_moe_layer_step=1
    ),
    "nemotron_h": NemotronHConfig(
        **SMALL, layers_block_type=["attention", "moe"], n_routed_experts=4, mlp_hidden_act="relu2"
    ),
}


class OnlyExperts(ModelAdapter):
    """Binds the experts of every layer that has some."""

    name = "only-experts"
    summary = "for these tests"

    def bind(self, model: nn.Module, config: Any) -> list[Any]:
        use_projections(model)
        layers = [module for module in model.modules() if type(module).__name__.endswith("Experts")]
        return [own for number, layer in enumerate(layers) for own in expert_slices(layer, number)]


def unbound(family: str, dtype: torch.dtype = torch.float32) -> Any:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(deepcopy(CONFIGS[family])).to(dtype).eval()
    for parameter in model.parameters():  # biases and sinks that begin as zero or are not initialised
        if parameter.dim() < 2 or not parameter.isfinite().all() or not parameter.any():
            nn.init.normal_(parameter, std=0.3)
    return model


def bound_model(family: str) -> BoundModel:
    return bind_model(f"tiny-{family}", unbound(family), byte_tokenizer(), [OnlyExperts()])


def shared_experts_model() -> BoundModel:
    """A dense layer, then one with routed and shared experts, both with 40 neurons in all."""
    sizes = SMALL | {"n_routed_experts": 4, "n_shared_experts": 4, "first_k_dense_replace": 1}
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(Glm4MoeConfig(**sizes)).eval()
    return bind_model("tiny-glm4-moe", model, byte_tokenizer(), registry.adapters())


def experts_of(model: Any) -> list[Any]:
    return [module for module in model.modules() if type(module).__name__.endswith("Experts")]


def unrolled(experts: Any, seen: list[torch.Tensor]) -> Any:
    """A forward of an expert layer, one expert after the other over all tokens, most with weight 0."""
    if type(experts).__name__ == "Llama4TextExperts":
        return MethodType(_unrolled_repeated(seen), experts)
    name = "gate_up_proj" if experts.has_gate else "up_proj"

    def project(name: str, expert: int, values: torch.Tensor) -> torch.Tensor:
        weight = getattr(experts, name)[expert]
        bias = getattr(experts, f"{name}_bias")[expert] if experts.has_bias else 0.0
        return values @ (weight if experts.is_transposed else weight.T) + bias

    def forward(
        self: Any, hidden: torch.Tensor, choices: torch.Tensor, weights: torch.Tensor
    ) -> torch.Tensor:
        total = torch.zeros_like(hidden)
        for expert in range(self.num_experts):
            before = project(name, expert, hidden)
            seen.append(before)
            inner = self._apply_gate(before) if self.has_gate else self.act_fn(before)
            weight = (weights * (choices == expert)).sum(-1, keepdim=True)
            total = total + project("down_proj", expert, inner) * weight
        return total

    return MethodType(forward, experts)


def _unrolled_repeated(seen: list[torch.Tensor]) -> Any:
    """The same of experts that are given all tokens, with the router's share in the input."""

    def forward(self: Any, hidden: torch.Tensor) -> torch.Tensor:
        given = hidden.unflatten(0, (len(self.gate_up_proj), -1))
        outputs = []
        for expert, rows in enumerate(given):
            before = rows @ self.gate_up_proj[expert]
            seen.append(before)
            gate, up = before.chunk(2, dim=-1)
            outputs.append((nn.functional.silu(gate) * up) @ self.down_proj[expert])
        return torch.cat(outputs)

    return forward


def weight_rows(experts: Any, neuron: Neuron) -> list[torch.Tensor]:
    """What makes one neuron of an expert: its row of weights, and its bias; views to be edited."""
    width = experts.down_proj.shape[1 if experts.is_transposed else 2]
    expert, index = divmod(neuron.index, width)
    name = "gate_up_proj" if experts.has_gate else "up_proj"
    if not experts.has_gate:
        row = index
    elif experts.is_concatenated:
        row = index + width * (neuron.module == EXPERTS_UP)
    else:
        row = 2 * index + (neuron.module == EXPERTS_UP)
    weight = getattr(experts, name).data[expert]
    rows = [weight[:, row] if experts.is_transposed else weight[row]]
    if experts.has_bias:
        rows.append(getattr(experts, f"{name}_bias").data[expert, row : row + 1])
    return rows
