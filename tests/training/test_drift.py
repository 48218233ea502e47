"""How far neurons move, by plain slicing of the weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from culnig.core.neurons import MLP_GATE, QUERY, Neuron
from culnig.training.drift import moved_neurons, relative_change
from culnig.training.plan import PlanSettings, make_plan
from tests.tiny_models import tiny_model
from tests.training.chosen import neuron_set
from tests.training.runs import run, weights_of


def test_a_neuron_moves_by_the_change_of_all_its_weights(tmp_path):
    bound = tiny_model()
    chosen = [Neuron(MLP_GATE, 1, 5), Neuron(MLP_GATE, 0, 5), Neuron(QUERY, 1, 2), Neuron(MLP_GATE, 1, 39)]
    plan = make_plan(bound, neuron_set(bound, chosen), PlanSettings(budget=0.12))
    before = weights_of(bound)
    run(bound, plan, tmp_path / "t")
    after = weights_of(bound)

    def by_hand(index):
        parts = []
        for weights in (before, after):
            mlp = {n: weights[f"model.layers.1.mlp.{n}_proj.weight"].double() for n in ("gate", "up", "down")}
            parts.append(torch.cat([mlp["gate"][index], mlp["up"][index], mlp["down"][:, index]]))
        return float((parts[1] - parts[0]).norm() / parts[0].norm())

    trained = {part.parameter: before[part.parameter] for part in plan.train}
    found = relative_change(bound, trained, plan.neurons.flat(bound.layout))
    assert found == pytest.approx([by_hand(5), 0, 0, by_hand(39)], rel=1e-4)
    moved = moved_neurons(bound, trained, plan)
    assert (moved.n_neurons, moved.n_moved) == (4, 2)
    assert moved.mean == pytest.approx(found.mean())
    assert {neuron[:3] for neuron in moved.most[:2]} == {(MLP_GATE, 1, 5), (MLP_GATE, 1, 39)}
    assert moved.others_mean > 0


@pytest.mark.parametrize("family", ["phi3", "gpt2", "gpt_neox"])
def test_masked_neurons_stand_still_while_others_move(family, tmp_path):
    bound = tiny_model(family)
    module = "mlp.fc_in" if family != "phi3" else MLP_GATE
    chosen = neuron_set(bound, [Neuron(module, 1, 5), Neuron(QUERY, 1, 3)])
    plan = make_plan(bound, chosen, PlanSettings(budget=1, granularity="layer", keep_neurons=True))
    before = weights_of(bound)
    run(bound, plan, tmp_path / "t")
    moved = moved_neurons(bound, before, plan)
    assert (moved.n_moved, moved.mean) == (0, 0)
    assert moved.others_mean > 0
    assert np.all(relative_change(bound, before, np.arange(4)) > 0)
