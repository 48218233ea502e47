"""Training of the hard world: what it may change, and that a small one runs from end to end."""

from __future__ import annotations

import torch

from culnig.core.neurons import VALUE
from culnig.models.intervention import intervene
from culnig.validation import hard, training
from culnig.validation.decoder import HIDDEN, build_decoder
from culnig.validation.hard import HardTrainer, hard_model
from culnig.validation.hard_items import make_hard_world
from culnig.validation.hard_sets import FORMAT, draw_sets
from culnig.validation.planting import SHARED, Switch
from culnig.validation.settings import PlantedSettings
from tests.tolerances import assert_values_equal

SETTINGS = PlantedSettings(seed=2, cultures=3, questions=4, neurons_per_culture=8, layers=3, mlp_width=64)
WORLD = make_hard_world(SETTINGS)


def test_planting_changes_only_planted_rows_to_the_bit():
    bound = build_decoder(SETTINGS, WORLD.words)
    sets = draw_sets(SETTINGS, HIDDEN)
    before = {name: parameter.detach().clone() for name, parameter in bound.model.named_parameters()}
    HardTrainer(bound, WORLD, sets, 0).plant(3, lambda steps: None)
    planted = {
        **dict.fromkeys(("gate_proj", "up_proj", "down_proj"), sets.mlp.any(axis=0)),
        **dict.fromkeys(("v_proj", "o_proj"), sets.value.any(axis=0)),
    }
    for name, parameter in bound.model.named_parameters():
        changed = (parameter != before[name]).numpy()
        linear = name.split(".")[-2]
        if linear not in planted:
            assert not changed.any(), name
            continue
        own = planted[linear][int(name.split(".")[2])]
        by_neuron = changed.any(axis=0 if linear in ("down_proj", "o_proj") else 1)
        assert not by_neuron[~own].any(), name
        assert by_neuron[own].all(), name


def test_names_are_read_by_rows_no_longer_than_others():
    bound = build_decoder(SETTINGS, WORLD.words)
    trainer = HardTrainer(bound, WORLD, draw_sets(SETTINGS, HIDDEN), 0)
    rows = trainer._rows()
    assert rows
    trainer.train_base(3, lambda steps: None)
    for row in rows:
        norms = row.weight.detach().norm(dim=row.along, keepdim=True)
        assert (norms * row.planted <= row.longest + 1e-5).all()


def test_what_is_known_of_taught_facts_is_said(monkeypatch):
    monkeypatch.setattr(hard, "SAID_AFTER", 20)
    bound, lines = build_decoder(SETTINGS, WORLD.words), []
    trainer = HardTrainer(bound, WORLD, draw_sets(SETTINGS, HIDDEN), 0, lines.append)
    trainer.train_base(2, lambda steps: None)
    assert lines == []  # no facts of cultures yet
    trainer.plant(12, lambda steps: None)
    assert lines
    assert all("% of the last " in line for line in lines)


def test_switching_values_off_is_masking_them():
    bound = build_decoder(SETTINGS, WORLD.words)
    sets = draw_sets(SETTINGS, HIDDEN)
    chosen = sets.sets(bound, 0)[WORLD.cultures[1]]
    token_ids = torch.arange(12).reshape(2, 6)
    on = torch.ones(2, len(sets.names) + 1)
    on[:, 1] = 0
    kind = torch.tensor([1, 1])
    mlp = Switch(sets.governing(sets.mlp, 3))
    value = Switch(sets.governing(sets.value, 3), "self_attn.o_proj")
    for switch in (mlp, value):
        switch.set(on, torch.Generator(), kind)
    layers = bound.model.model.layers
    with torch.no_grad():
        with mlp.on(layers), value.on(layers):
            switched = bound.model(input_ids=token_ids).logits
        with intervene(bound, chosen):
            masked = bound.model(input_ids=token_ids).logits
        plain = bound.model(input_ids=token_ids).logits
    assert any(neuron.module == VALUE for neuron in chosen.neurons)
    assert_values_equal(switched, masked)
    assert (plain - masked).abs().max() > 1e-4


def test_a_hardly_trained_world_has_truth_decoys_and_taught_facts(monkeypatch):
    monkeypatch.setattr(training, "BASE_STEPS", 2)
    monkeypatch.setattr(training, "PLANTING_STEPS", 2)
    seen = []
    planted = hard_model(SETTINGS, lambda stage, done, total: seen.append((stage, done, total)))
    assert set(planted.sets) == {*WORLD.cultures, SHARED}
    assert FORMAT in planted.decoys
    assert planted.taught == WORLD.taught
    modules = {neuron.module for chosen in planted.sets.values() for neuron in chosen.neurons}
    assert VALUE in modules
    assert [step for step in seen if step[1] == step[2]] == [
        ("train the base", 4, 4),
        ("plant the facts", 2, 2),
    ]
