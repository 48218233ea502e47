"""A planted mixture: which neurons are planted, what training may change, and what a set being off means."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from culnig.core.neurons import EXPERTS_GATE
from culnig.models.intervention import intervene
from culnig.validation.decoder import build_decoder
from culnig.validation.effects import measure_effects
from culnig.validation.methods import JUDGED
from culnig.validation.planted import planted_model
from culnig.validation.planting import Switch, draw_membership, planted_rows, planted_sets
from culnig.validation.settings import PlantedSettings
from culnig.validation.training import Trainer
from culnig.validation.validate import run_validation
from culnig.validation.world import make_world
from tests.tolerances import assert_values_equal

SETTINGS = PlantedSettings(
    seed=5, cultures=3, questions=4, neurons_per_culture=4, layers=3, mlp_width=16, experts=4
)
WIDTH = 4
"""Neurons of one expert."""


@pytest.fixture
def world():
    return make_world(SETTINGS)


@pytest.fixture
def bound(world):
    return build_decoder(SETTINGS, world.words)


@pytest.fixture
def membership():
    return draw_membership(SETTINGS)


def changed_neurons(bound, before, layer):
    """Of each neuron of a layer's experts, whether gate row, up row and down column have changed."""
    path = f"model.layers.{layer}.mlp.experts"
    first, last = (
        bound.model.get_parameter(f"{path}.{name}") != before[f"{path}.{name}"]
        for name in ("gate_up_proj", "down_proj")
    )
    return np.array(
        [
            [
                bool(first[expert, index].any()),
                bool(first[expert, WIDTH + index].any()),
                bool(last[expert, :, index].any()),
            ]
            for expert in range(4)
            for index in range(WIDTH)
        ]
    )


def weights_of(bound):
    return {name: parameter.detach().clone() for name, parameter in bound.model.named_parameters()}


def test_neuron_sets_name_the_gates_of_experts(bound, world, membership):
    sets = planted_sets(bound, membership, world.cultures, SETTINGS.seed)
    for number, chosen in enumerate(sets.values()):
        assert {neuron.module for neuron in chosen.neurons} == {EXPERTS_GATE}
        assert {membership[neuron.layer, neuron.index] for neuron in chosen.neurons} == {number}
        chosen.flat(bound.layout)


def test_switching_a_set_off_is_masking_its_gates(bound, world, membership):
    chosen = planted_sets(bound, membership, world.cultures, SETTINGS.seed)[world.cultures[1]]
    token_ids = torch.arange(12).reshape(2, 6)
    switch = Switch(membership)
    on = torch.ones(2, 5)
    on[1, 1] = 0  # in the second item only
    switch.set(on, torch.Generator())
    with torch.no_grad():
        with switch.on(bound.model.model.layers):
            switched = bound.model(input_ids=token_ids).logits
        with intervene(bound, chosen):
            masked = bound.model(input_ids=token_ids).logits
        plain = bound.model(input_ids=token_ids).logits
    assert_values_equal(switched[1], masked[1])
    assert_values_equal(switched[0], plain[0])
    assert (plain[1] - masked[1]).abs().max() > 1e-4


def test_planting_changes_only_planted_neurons_of_experts_to_the_bit(bound, world, membership):
    before = weights_of(bound)
    Trainer(bound, world, membership, SETTINGS.seed).plant(3, lambda steps: None)
    for name, parameter in bound.model.named_parameters():
        if ".experts." not in name:
            assert torch.equal(parameter, before[name]), name
    any_changed = False
    for layer, row in enumerate(membership):
        changed = changed_neurons(bound, before, layer)
        assert not changed[row < 0].any()
        any_changed |= changed[row >= 0].all(axis=1).any()
    assert any_changed  # not all: experts that no token was routed to learn nothing
    assert all(parameter.requires_grad for parameter in bound.model.parameters())


def test_the_base_is_learned_without_the_planted_neurons(bound, world, membership):
    before = weights_of(bound)
    Trainer(bound, world, membership, SETTINGS.seed).train_base(3, lambda steps: None)
    for layer, row in enumerate(membership):
        changed = changed_neurons(bound, before, layer)
        assert not changed[row >= 0].any()
        assert changed[row < 0].any()
        router = f"model.layers.{layer}.mlp.gate.weight"
        assert not torch.equal(bound.model.get_parameter(router), before[router])


def test_no_planted_row_is_longer_than_the_average_of_the_others(bound, membership):
    rows = planted_rows(bound.model, torch.from_numpy(membership))
    layer = int(np.argmax((membership >= 0).sum(axis=1)))
    experts = bound.model.model.layers[layer].mlp.experts
    planted = torch.from_numpy(membership[layer] >= 0).reshape(4, WIDTH)
    gates = experts.gate_up_proj.detach().norm(dim=2)[:, :WIDTH].clone()
    ups = experts.gate_up_proj.detach().norm(dim=2)[:, WIDTH:].clone()
    downs = experts.down_proj.detach().norm(dim=1).clone()
    with torch.no_grad():
        for own in rows:
            own.weight.mul_(torch.where(own.planted > 0, 3.0, 1.0))
            own.limit()
    norms = experts.gate_up_proj.detach().norm(dim=2)
    after = norms[:, :WIDTH], norms[:, WIDTH:], experts.down_proj.detach().norm(dim=1)
    for now, then in zip(after, (gates, ups, downs), strict=True):
        longest = then[~planted].mean()
        torch.testing.assert_close(now[planted], longest.expand(int(planted.sum())))
        assert torch.equal(now[~planted], then[~planted])


@pytest.mark.slow
def test_planted_neurons_of_experts_carry_the_facts_and_are_found(tmp_path):
    """Each token goes through half of a layer's 512 neurons, as many as a layer of the dense model has."""
    settings = PlantedSettings(
        experts=4, mlp_width=512, cultures=4, questions=12, layers=2, neurons_per_culture=8
    )
    effects = measure_effects(planted_model(settings))
    assert effects.known_share >= 0.9
    for culture in planted_model(settings).world.cultures:
        assert effects.masked[culture][culture] <= effects.chance + 0.1
    found = {result.method: result for result in run_validation(planted_model(settings), tmp_path).results}[
        JUDGED
    ]
    assert found.general.average_precision >= 0.75
    assert found.general.chance < 0.04
    assert found.specific.average_precision >= 0.25
