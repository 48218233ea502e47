"""Which weights belong to what, held against what the models do with them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from culnig.models.intervention import intervene
from culnig.training.weights import Part, Weights, joined
from tests.tiny_models import ALL_CONFIGS, tiny_model
from tests.training.chosen import random_set

TOKENS = torch.arange(40, 76).reshape(2, 18)


def logits(bound):
    with torch.no_grad():
        return bound.model(input_ids=TOKENS).logits


def fill(bound, part, value):
    """Write a value over a part of a parameter, by plain indexing."""
    parameter = bound.model.get_parameter(part.parameter)
    with torch.no_grad():
        if part.indices is None:
            parameter.fill_(value)
        elif part.axis == 0:
            parameter[torch.from_numpy(part.indices)] = value
        else:
            parameter[:, torch.from_numpy(part.indices)] = value


@pytest.mark.parametrize("family", ALL_CONFIGS)
def test_a_suppressed_neuron_does_not_feel_its_own_weights(family):
    bound = tiny_model(family)
    flat = random_set(bound).flat(bound.layout)
    owned = Weights(bound).of_neurons(flat)
    unmasked = logits(bound)
    with intervene(bound, flat):
        before = logits(bound)
        for rows in owned:
            fill(bound, rows.part, 0.7)
        assert torch.equal(logits(bound), before)
    assert not torch.equal(logits(bound), unmasked)  # unmasked, it does


@pytest.mark.parametrize("family", ALL_CONFIGS)
def test_a_neuron_of_an_mlp_has_all_that_leads_to_it_and_from_it(family):
    bound = tiny_model(family)
    layout = bound.layout
    flat = np.array(
        [s.start + 3 for s in layout.chosen(layers=[1]) if s.module in ("mlp.gate_proj", "mlp.fc_in")]
    )
    assert len(flat) == 1
    for rows in Weights(bound).of_neurons(flat):
        fill(bound, rows.part, 0.0)
    after_its_weights = logits(bound)
    with intervene(bound, flat):
        assert torch.equal(logits(bound), after_its_weights)


@pytest.mark.parametrize("family", ALL_CONFIGS)
def test_without_its_weights_a_module_is_silent_and_no_other_changes(family):
    seen: dict[tuple[str, int], torch.Tensor] = {}

    def remember(bound):
        seen.clear()
        hooks = [
            held.linear.register_forward_hook(
                lambda module, inputs, output, held=held: seen.update(
                    {(p.segment.module, p.segment.layer): p.take(output).clone() for p in held.slices}
                )
            )
            for held in bound.linears
        ]
        logits(bound)
        for hook in hooks:
            hook.remove()
        return dict(seen)

    last = tiny_model(family).layout.n_layers - 1
    for module in tiny_model(family).layout.modules:
        bound = tiny_model(family)
        before = remember(bound)
        for part in Weights(bound).module(module, last):
            fill(bound, part, 0.0)
        after = remember(bound)
        assert after[module, last].abs().max() == 0
        assert before[module, last].abs().max() > 0
        attention = [place for place in before if place[0].startswith("self_attn") and place[1] == last]
        for place in attention if module.startswith("self_attn") else []:
            if place[0] != module:
                assert torch.equal(before[place], after[place])


@pytest.mark.parametrize("family", ALL_CONFIGS)
def test_mlp_and_layer_are_submodules_with_all_their_parameters(family):
    bound = tiny_model(family)
    weights = Weights(bound)
    for layer in range(bound.layout.n_layers):
        mlp = bound.model.get_submodule(weights.mlp_path(layer))
        whole = bound.model.get_submodule(weights.layer_path(layer))
        assert mlp in whole.children()
        assert sum(part.n_parameters for part in weights.below(weights.mlp_path(layer))) == sum(
            p.numel() for p in mlp.parameters()
        )
        assert any(
            list(stack) and stack[layer] is whole
            for stack in bound.model.modules()
            if isinstance(stack, torch.nn.ModuleList) and len(stack) > layer
        )
    assert weights.n_parameters == sum(p.numel() for p in bound.model.parameters())


def test_parts_of_one_parameter_are_put_together():
    some = Part("w", (6, 2), 0, np.array([4, 5]))
    more = Part("w", (6, 2), 0, np.array([0, 1, 4]))
    (both,) = joined([some, more])
    assert both.indices.tolist() == [0, 1, 4, 5]
    assert both.n_parameters == 8
    (whole,) = joined([both, Part("w", (6, 2), 0, np.array([2, 3]))])
    assert whole.indices is None
    assert whole.n_parameters == 12
    assert joined([some, Part("w", (6, 2))])[0].indices is None
    assert Part("w", (6, 2)).without(1, np.array([0])).n_parameters == 6
    assert some.without(0, np.array([1])) is some
