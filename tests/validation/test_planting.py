"""Planted sets, what training may change, and what a planted neuron is."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from culnig.core.neurons import MLP_GATE
from culnig.models.intervention import intervene
from culnig.validation.decoder import build_decoder
from culnig.validation.planting import SHARED, Switch, draw_membership, planted_rows, planted_sets
from culnig.validation.settings import PlantedSettings
from culnig.validation.training import Trainer
from culnig.validation.world import make_world
from tests.tolerances import assert_values_equal

SETTINGS = PlantedSettings(seed=5, cultures=3, questions=4, neurons_per_culture=4, layers=3, mlp_width=16)


@pytest.fixture
def world():
    return make_world(SETTINGS)


@pytest.fixture
def bound(world):
    return build_decoder(SETTINGS, world.words)


def test_sets_have_the_asked_size_and_share_no_neuron():
    membership = draw_membership(SETTINGS)
    assert membership.shape == (3, 16)
    numbers, sizes = np.unique(membership, return_counts=True)
    assert dict(zip(numbers.tolist(), sizes.tolist(), strict=True)) == {-1: 32, 0: 4, 1: 4, 2: 4, 3: 4}


def test_the_shared_set_is_in_the_lower_half_and_no_set_in_the_last_layer():
    for seed in range(20):
        membership = draw_membership(PlantedSettings(seed=seed, layers=4))
        assert set(np.argwhere(membership == 8)[:, 0]) <= {0, 1}
        assert (membership[3] == -1).all()


def test_neuron_sets_name_the_gates(bound, world):
    membership = draw_membership(SETTINGS)
    sets = planted_sets(bound, membership, world.cultures, SETTINGS.seed)
    assert list(sets) == [*world.cultures, SHARED]
    for number, chosen in enumerate(sets.values()):
        assert len(chosen.neurons) == 4
        for neuron in chosen.neurons:
            assert neuron.module == MLP_GATE
            assert membership[neuron.layer, neuron.index] == number
        chosen.flat(bound.layout)


def test_switching_a_set_off_is_masking_its_gates(bound, world):
    """The switch acts behind the activation function, the intervention before it; silu(0) = 0 joins them."""
    membership = draw_membership(SETTINGS)
    chosen = planted_sets(bound, membership, world.cultures, SETTINGS.seed)[world.cultures[1]]
    token_ids = torch.arange(12).reshape(2, 6)
    switch = Switch(membership)
    on = torch.ones(2, 5)
    on[:, 1] = 0
    switch.set(on, torch.Generator())
    with torch.no_grad():
        with switch.on(bound.model.model.layers):
            switched = bound.model(input_ids=token_ids).logits
        with intervene(bound, chosen):
            masked = bound.model(input_ids=token_ids).logits
        plain = bound.model(input_ids=token_ids).logits
    assert_values_equal(switched, masked)
    assert (plain - masked).abs().max() > 1e-4


def weights_of(bound):
    return {name: parameter.detach().clone() for name, parameter in bound.model.named_parameters()}


def test_planting_changes_only_the_planted_rows_to_the_bit(bound, world):
    membership = draw_membership(SETTINGS)
    trainer = Trainer(bound, world, membership, SETTINGS.seed)
    before = weights_of(bound)
    trainer.plant(3, lambda steps: None)
    for name, parameter in bound.model.named_parameters():
        changed = (parameter != before[name]).numpy()
        if ".mlp." not in name or not name.endswith("_proj.weight"):
            assert not changed.any(), name
            continue
        planted = membership[int(name.split(".")[2])] >= 0
        by_neuron = changed.any(axis=0 if "down_proj" in name else 1)
        assert not by_neuron[~planted].any(), name
        assert by_neuron[planted].all(), name
    assert all(parameter.requires_grad for parameter in bound.model.parameters())


def test_the_base_is_learned_without_the_planted_neurons(bound, world):
    membership = draw_membership(SETTINGS)
    before = weights_of(bound)
    Trainer(bound, world, membership, SETTINGS.seed).train_base(3, lambda steps: None)
    for layer, row in enumerate(membership):
        name = f"model.layers.{layer}.mlp.gate_proj.weight"
        changed = (bound.model.get_parameter(name) != before[name]).any(dim=1).numpy()
        assert not changed[row >= 0].any()
        assert changed[row < 0].all()


def test_no_planted_row_is_longer_than_the_average_of_the_others(bound):
    membership = draw_membership(SETTINGS)
    for rows in planted_rows(bound.model, torch.from_numpy(membership)):
        inputs = rows.planted.shape[1] == 1  # gate and up hold a neuron in a row, down in a column
        planted = rows.planted.flatten() > 0
        norms = rows.weight.detach().norm(dim=1 if inputs else 0)
        expected = norms[~planted].mean()
        before = rows.weight.detach().clone()
        with torch.no_grad():
            rows.weight.mul_(torch.where(rows.planted > 0, 3.0, 1.0))
        rows.limit()
        after = rows.weight.detach().norm(dim=1 if inputs else 0)
        torch.testing.assert_close(after[planted], expected.expand(int(planted.sum())))
        unplanted = (rows.planted == 0).expand_as(before)
        assert torch.equal(rows.weight.detach()[unplanted], before[unplanted])
