"""The relevance rules once more, sharing no code with the engine's: one autograd function for each rule.

`ruled` is a copy of a model whose norms, activation functions and products are computed by these functions,
so that its plain gradient is the relevance. Modules are replaced by name.
"""

from __future__ import annotations

from copy import deepcopy
from types import MethodType
from typing import Any

import torch
from torch import nn


class Norm(torch.autograd.Function):
    """x · weight / size, for which the size is a constant; centred first, if at all."""

    @staticmethod
    def forward(context: Any, x: Any, weight: Any, bias: Any, eps: float, centre: bool) -> Any:
        moved = x - x.mean(-1, keepdim=True) if centre else x
        size = ((moved * moved).sum(-1, keepdim=True) / x.shape[-1] + eps) ** 0.5
        context.save_for_backward(weight, size)
        context.centre = centre
        return moved / size * weight + (0 if bias is None else bias)

    @staticmethod
    def backward(context: Any, gradient: Any) -> Any:
        weight, size = context.saved_tensors
        passed = gradient * weight / size
        if context.centre:
            passed = passed - passed.sum(-1, keepdim=True) / passed.shape[-1]
        return passed, None, None, None, None


class Line(torch.autograd.Function):
    """An activation function whose slope is value / argument."""

    @staticmethod
    def forward(context: Any, z: Any, function: Any) -> Any:
        value = function(z)
        context.save_for_backward(z, value)
        return value

    @staticmethod
    def backward(context: Any, gradient: Any) -> Any:
        z, value = context.saved_tensors
        return torch.where(z == 0, torch.zeros_like(z), gradient * value / z), None


class Half(torch.autograd.Function):
    """A product that gives each factor half of what the gradient would."""

    @staticmethod
    def forward(context: Any, first: Any, second: Any) -> Any:
        context.save_for_backward(first, second)
        return first * second

    @staticmethod
    def backward(context: Any, gradient: Any) -> Any:
        first, second = context.saved_tensors
        return gradient * second / 2, gradient * first / 2


def _norm(module: Any) -> Any:
    centre = isinstance(module, nn.LayerNorm)
    eps = next(getattr(module, name) for name in ("variance_epsilon", "eps") if hasattr(module, name))
    weight = module.weight + 1 if type(module).__name__.startswith("Gemma") else module.weight
    return lambda self, x: Norm.apply(x, weight, getattr(self, "bias", None), eps, centre)


def _gated(self: Any, x: Any) -> Any:
    if hasattr(self, "gate_up_proj"):
        gate, up = self.gate_up_proj(x).chunk(2, -1)
        function = self.activation_fn
    else:
        gate, up, function = self.gate_proj(x), self.up_proj(x), self.act_fn
    return self.down_proj(Half.apply(Line.apply(gate, function), up))


def _plain(self: Any, x: Any) -> Any:
    if hasattr(self, "c_fc"):
        return self.c_proj(Line.apply(self.c_fc(x), self.act))
    return self.dense_4h_to_h(Line.apply(self.dense_h_to_4h(x), self.act))


def ruled(model: Any) -> Any:
    """A copy of the model with the rules in place of its norms and MLPs."""
    copied = deepcopy(model)
    for parameter in copied.parameters():
        parameter.requires_grad_(False)
    copied.get_input_embeddings().register_forward_hook(
        lambda module, inputs, output: output.requires_grad_(True)
    )
    for module in copied.modules():
        children = dict(module.named_children())
        if "Norm" in type(module).__name__:
            module.forward = MethodType(_norm(module), module)
        elif children.keys() & {"gate_proj", "gate_up_proj"}:
            module.forward = MethodType(_gated, module)
        elif children.keys() & {"c_fc", "dense_h_to_4h"}:
            module.forward = MethodType(_plain, module)
    return copied


def toy() -> Any:
    """One layer, whose relevance `test_rules` computes by hand.

    Hidden width 2; token 1 embeds as x = (1, 7), whose root mean square is 5. Query, key and value are x/2,
    x/4 and x/4, and attention is their sum. The norm's weights are (5, 5), so it gives (1, 7) again. The gate
    is twice its first value, 2, up its second, 7; the product is relu(2) · 7 = 14, and the only logit that is
    not 0 is 14 − 14, so P = 1/2 and ∂P/∂h = 1/4.
    """
    from tests.scoring.toy_model import ToyModel

    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            for name, share in (("q_proj", 0.5), ("k_proj", 0.25), ("v_proj", 0.25)):
                linear = nn.Linear(2, 2, bias=False)
                linear.weight.data = share * torch.eye(2)
                self.add_module(name, linear)

        def forward(self, x: torch.Tensor) -> Any:
            return self.q_proj(x) + self.k_proj(x) + self.v_proj(x)

    class Mlp(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.RMSNorm(2, eps=0.0)
            self.norm.weight.data = torch.tensor([5.0, 5.0])
            self.gate_proj, self.up_proj = nn.Linear(2, 1, bias=False), nn.Linear(2, 1, bias=False)
            self.down_proj = nn.Linear(1, 2, bias=False)
            self.gate_proj.weight.data = torch.tensor([[2.0, 0.0]])
            self.up_proj.weight.data = torch.tensor([[0.0, 1.0]])
            self.down_proj.weight.data = torch.tensor([[1.0], [0.0]])

        def forward(self, x: torch.Tensor) -> Any:
            x = self.norm(x)
            return self.down_proj(torch.relu(self.gate_proj(x)) * self.up_proj(x))

    model = ToyModel(bias=14.0)
    model.embed = nn.Embedding(8, 2)
    model.embed.weight.data = torch.tensor([[1.0, 7.0]]).repeat(8, 1)
    model.layers[0].self_attn, model.layers[0].mlp = Attention(), Mlp()
    model.head = nn.Linear(2, 2)
    model.head.weight.data = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    model.head.bias.data = torch.tensor([-14.0, 0.0])
    return model
