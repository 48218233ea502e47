"""Neurons of experts: the layer computes what transformers' own does, and masks equal edited weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from culnig.core.neurons import EXPERTS_GATE, EXPERTS_IN, EXPERTS_UP, Neuron
from culnig.errors import BindingError
from culnig.models.base import BoundModel, bind_model
from culnig.models.experts import Routed, projection
from culnig.models.intervention import Resample, Scale, SetTo, intervene
from tests.tiny_experts import CONFIGS, OnlyExperts, bound_model, experts_of, unbound, weight_rows
from tests.tiny_models import byte_tokenizer

WIDTH = 10
"""Neurons of one expert and module."""
TOKENS = torch.tensor([[5, 40, 77, 12, 9], [33, 6, 250, 8, 100], [2, 3, 5, 7, 11]])


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=TOKENS).logits


@pytest.mark.parametrize("family", CONFIGS)
def test_the_layer_computes_what_transformers_own_does(family: str) -> None:
    model = unbound(family, torch.float64)
    model.set_experts_implementation("eager")
    expected = logits(model)
    bind_model(family, model, byte_tokenizer(), [OnlyExperts()])
    assert family == "llama4" or model.config._experts_implementation == "culnig"
    torch.testing.assert_close(logits(model), expected, rtol=1e-6, atol=1e-7)  # Nemotron-H rounds to float32


def neurons_of(bound: BoundModel) -> list[Neuron]:
    """Some neurons of every module, in several experts of the last layer with experts."""
    last = bound.layout.segments[-1].layer
    return [
        Neuron(module, last, expert * WIDTH + index)
        for module in bound.layout.modules
        for expert, index in ((0, 3), (1, 0), (3, 9))
    ]


def flat(bound: BoundModel) -> Any:
    return np.array([bound.layout.flat(neuron) for neuron in neurons_of(bound)])


@pytest.mark.parametrize("family", CONFIGS)
@pytest.mark.parametrize("factor", [0.0, 2.0])
def test_a_factor_equals_edited_weights(family: str, factor: float) -> None:
    bound, edited = bound_model(family), bound_model(family)
    for neuron in neurons_of(edited):
        for row in weight_rows(experts_of(edited.model)[neuron.layer], neuron):
            row.mul_(factor)
    bare = logits(bound.model)
    with intervene(bound, flat(bound), factor):
        masked = logits(bound.model)
    torch.testing.assert_close(masked, logits(edited.model), rtol=1e-5, atol=1e-5)
    assert (masked - bare).abs().max() > 1e-3
    assert torch.equal(logits(bound.model), bare)


@pytest.mark.parametrize("family", ["mixtral", "gpt_oss"])
def test_names_layout_and_columns(family: str) -> None:
    bound = bound_model(family)
    assert bound.layout.modules == (EXPERTS_GATE, EXPERTS_UP)
    assert {(segment.width, segment.experts) for segment in bound.layout.segments} == {(4 * WIDTH, 4)}
    assert bound_model("nemotron_h").layout.modules == (EXPERTS_IN,)


def test_experts_like_llama_4s_that_gate_by_the_other_half_are_refused(monkeypatch) -> None:
    model = unbound("llama4")
    kind = type(experts_of(model)[0])

    def gated_by_the_second_half(self: Any, hidden: torch.Tensor) -> torch.Tensor:
        columns = torch.bmm(hidden.view(len(self.gate_up_proj), -1, hidden.shape[-1]), self.gate_up_proj)
        up, gate = columns.chunk(2, dim=-1)
        return torch.bmm(up * self.act_fn(gate), self.down_proj).view(-1, hidden.shape[-1])

    monkeypatch.setattr(kind, "forward", gated_by_the_second_half)
    with pytest.raises(BindingError, match="routes tokens to experts in a way of its own"):
        bind_model("llama4", model, byte_tokenizer(), [OnlyExperts()])


def test_rows_of_all_tokens_by_hand() -> None:
    """Three tokens, two experts of two columns; the second token went to both, the third to none."""
    rows = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    routed = Routed(torch.tensor([0, 0, 1]), torch.tensor([0, 1, 1]), 3)
    held = projection(experts_of(unbound("mixtral"))[0], "layer 0")
    held.n_experts, held.n_columns = 2, 2
    expected = [[1.0, 2.0, 0.0, 0.0], [3.0, 4.0, 5.0, 6.0], [0.0, 0.0, 0.0, 0.0]]
    assert held.all_tokens(rows, routed).tolist() == expected


def activations(bound: BoundModel) -> torch.Tensor:
    """What the last expert layer computes for all tokens, (token, column)."""
    seen: list[torch.Tensor] = []
    linear = bound.linears[-1]

    def keep(module: Any, inputs: Any, output: torch.Tensor) -> None:
        seen.append(linear.output(inputs, output).clone())

    handle = linear.linear.register_forward_hook(keep)
    logits(bound.model)
    handle.remove()
    return seen[0]


def test_values_are_set_where_a_token_was_routed() -> None:
    bound = bound_model("mixtral")
    neurons = flat(bound)
    _, columns = bound.linears[-1].find(neurons)
    before = activations(bound)
    values = np.linspace(1, 2, len(neurons))
    with intervene(bound, SetTo(neurons, values)):
        after = activations(bound)
    order, _ = bound.linears[-1].find(neurons)
    expected = before.clone()
    expected[:, columns] = torch.where(before[:, columns] == 0, 0.0, torch.from_numpy(values[order]).float())
    assert torch.equal(after, expected)
    assert (before[:, columns] == 0).any()
    assert (before[:, columns] != 0).any()


def test_values_of_another_item_are_zero_where_its_token_was_not_routed() -> None:
    bound = bound_model("mixtral")
    neurons = flat(bound)
    _, columns = bound.linears[-1].find(neurons)
    before = activations(bound).view(*TOKENS.shape, -1)[..., columns]
    with intervene(bound, Resample(neurons, seed=1)):
        after = activations(bound).view(*TOKENS.shape, -1)[..., columns]
    moved = [torch.where(before == 0, 0.0, before.roll(-shift, 0)) for shift in (1, 2)]
    assert any(torch.equal(after, expected) for expected in moved)


def test_scales_add_up_in_nested_contexts() -> None:
    bound = bound_model("mixtral")
    with intervene(bound, [Scale(flat(bound), 2.0), Scale(flat(bound)[:2], 3.0)]):
        together = logits(bound.model)
    with intervene(bound, flat(bound), 2.0), intervene(bound, flat(bound)[:2], 3.0):
        torch.testing.assert_close(logits(bound.model), together, rtol=1e-6, atol=1e-6)


def test_columns_in_another_order_are_refused() -> None:
    model = unbound("mixtral")
    experts_of(model)[1].is_concatenated = False
    with pytest.raises(BindingError, match=r"layer 1: .* not gate and up in the order"):
        OnlyExperts().bind(model, None)


def test_experts_over_processes_and_packed_weights_are_refused() -> None:
    model = unbound("mixtral")
    experts_of(model)[0]._is_expert_parallel = True
    with pytest.raises(BindingError, match="without expert parallelism"):
        OnlyExperts().bind(model, None)
    model = unbound("mixtral")
    packed = nn.Parameter(torch.zeros(4, 20, 12, dtype=torch.uint8), requires_grad=False)
    experts_of(model)[0].gate_up_proj = packed
    with pytest.raises(BindingError, match=r"`gate_up_proj` is torch.uint8 \(4, 20, 12\)"):
        OnlyExperts().bind(model, None)
