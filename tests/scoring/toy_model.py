"""A one-layer model small enough to differentiate by hand.

Hidden width 1, vocabulary {0, 1}, token id t embeds as t. With x the embeddings of a prompt of T tokens:

    q = k = v = x                              (all weights 1)
    m_t = q_t · Σ_{s ≤ t} k_s v_s              (attention without softmax)
    gate_t = (m_t, m_t), up_t = (0.1 m_t, −0.05 m_t)
    h_t = Σ_j gate_tj up_tj − bias = 0.05 m_t² − bias
    logits at T: (h_T, 0), so P(0) = sigmoid(h_T)

For x = (1, 2): m = (1, 10), and with bias 5: h = 0, P(0) = 0.5, dP/dh = P(1−P) = 0.25, dh/dm = 0.1 m = 1.
"""

from __future__ import annotations

from types import SimpleNamespace

import torch
from torch import nn

from culnig.core.items import Item
from culnig.inference.batches import Batch
from culnig.inference.encoding import EncodedItem
from culnig.models.base import BoundModel, bind_model
from culnig.models.gated_decoder import GatedDecoder
from tests.tiny_models import byte_tokenizer


def _linear(weights: list[float]) -> nn.Linear:
    linear = nn.Linear(1, len(weights), bias=False)
    linear.weight.data = torch.tensor(weights)[:, None]
    return linear


class _Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.q_proj, self.k_proj, self.v_proj = _linear([1.0]), _linear([1.0]), _linear([1.0])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.q_proj(x) * (self.k_proj(x) * self.v_proj(x)).cumsum(1)


class _Mlp(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gate_proj, self.up_proj = _linear([1.0, 1.0]), _linear([0.1, -0.05])
        self.down_proj = nn.Linear(2, 1, bias=False)
        self.down_proj.weight.data = torch.ones(1, 2)

    def forward(self, m: torch.Tensor) -> torch.Tensor:
        return self.down_proj(self.gate_proj(m) * self.up_proj(m))


class _Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.self_attn, self.mlp = _Attention(), _Mlp()


class ToyModel(nn.Module):
    """See the top of the file."""

    def __init__(self, bias: float = 5.0, vocabulary: int = 8) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocabulary, 1)
        self.embed.weight.data = torch.arange(vocabulary, dtype=torch.float32)[:, None]
        self.layers = nn.ModuleList([_Layer()])
        self.head = nn.Linear(1, 2)
        self.head.weight.data = torch.tensor([[1.0], [0.0]])
        self.head.bias.data = torch.tensor([-bias, 0.0])
        self.config = SimpleNamespace(
            get_text_config=lambda: SimpleNamespace(
                num_attention_heads=1, num_key_value_heads=1, head_dim=1, hidden_size=1, intermediate_size=2
            )
        )

    def get_input_embeddings(self) -> nn.Module:
        return self.embed

    def get_output_embeddings(self) -> nn.Module:
        return self.head

    def forward(self, input_ids: torch.Tensor, use_cache: bool = False) -> SimpleNamespace:
        hidden = self.embed(input_ids)
        for layer in self.layers:
            hidden = layer.mlp(layer.self_attn(hidden))
        return SimpleNamespace(logits=self.head(hidden))


def toy_bound(bias: float = 5.0) -> BoundModel:
    return bind_model("toy", ToyModel(bias), byte_tokenizer(), [GatedDecoder()])


def toy_batch(prompts: list[list[int]], cultures: list[str]) -> Batch:
    """Prompts given as token ids; gold is vocabulary entry 0."""
    encoded = []
    for number, (ids, culture) in enumerate(zip(prompts, cultures, strict=True)):
        item = Item(str(number), str(number), culture, "identify", "", ("A", "B"), "A")
        encoded.append(EncodedItem(item, tuple(ids), 0, (0, 1)))
    return Batch(tuple(range(len(prompts))), tuple(encoded))
