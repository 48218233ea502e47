"""`culnig-engine modules`: the plan of a neuron set, and its mistakes."""

from __future__ import annotations

import numpy as np
import pytest

from culnig.core.neurons import MLP_GATE, QUERY, Neuron
from culnig.selection.neuron_set import NeuronSet
from culnig.training.plan_file import read_plan
from tests.tiny_models import tiny_model


@pytest.fixture
def neurons(model_folder, tmp_path):
    layout = tiny_model().layout
    some = [Neuron(MLP_GATE, 1, 3), Neuron(MLP_GATE, 1, 4), Neuron(MLP_GATE, 0, 2), Neuron(QUERY, 2, 0)]
    path = tmp_path / "general.neurons.json"
    NeuronSet("general", str(model_folder), layout.hash, {}, [], tuple(some), np.ones(4)).write(path)
    return path


def test_the_plan_takes_the_richest_mlps(culnig, neurons, tmp_path):
    result = culnig("modules", neurons, "--budget", "0.25", "-o", tmp_path / "plan.yaml")
    assert result.code == 0
    assert "2 of 3 units with 3 of 4 neurons: 5,760 of 26,472 parameters (21.8 %)" in result.out
    plan = read_plan(tmp_path / "plan.yaml")
    assert [(unit["layer"], unit["neurons"]) for unit in plan.chosen] == [(1, 2), (0, 1)]


def test_json_is_one_document_and_bottom_avoids_the_neurons(culnig, neurons, tmp_path):
    found = culnig(
        *("modules", neurons, "--budget", "0.12", "--direction", "bottom", "--json"),
        *("-o", tmp_path / "plan.yaml"),
    ).json
    assert found["n_neurons_in_chosen"] == 0
    assert found["peft"]["layers_to_transform"] == [2]
    assert found["n_trainable"] == 2880


def test_bottom_says_where_it_cannot_avoid_them(culnig, neurons, tmp_path):
    result = culnig(
        "modules", neurons, "--budget", "1", "--direction", "bottom", "-o", tmp_path / "plan.yaml"
    )
    assert "These units hold 3 of the neurons" in result.out


def test_row_masks_are_announced(culnig, neurons, tmp_path):
    result = culnig("modules", neurons, "--budget", "0.25", "--keep-neurons", "-o", tmp_path / "plan.yaml")
    # a gate row, an up row and a down column of 24 numbers each, three times
    assert f"all but the neurons' own weights: {5760 - 3 * 3 * 24:,} of" in result.out


def test_mistakes_are_explained(culnig, neurons, tmp_path):
    plan = tmp_path / "plan.yaml"
    small = culnig("modules", neurons, "--budget", "0.01", "-o", plan)
    assert (small.code, "fits nothing: the smallest unit, mlp of layer" in small.err) == (2, True)
    assert culnig("modules", neurons, "--budget", "0", "-o", plan).code == 2
    assert "no such file" in culnig("modules", tmp_path / "none.json", "-o", plan).err
    other = culnig("modules", neurons, "--model", tmp_path / "none", "-o", plan)
    assert (other.code, "no such file or folder" in other.err) == (2, True)
    assert not plan.exists()
    assert culnig("modules", neurons, "--budget", "0.25", "-o", plan).code == 0
    again = culnig("modules", neurons, "--budget", "0.25", "-o", plan)
    assert (again.code, "plan.yaml exists; add --overwrite" in again.err) == (2, True)


def test_a_set_whose_model_is_missing_asks_for_it(culnig, neurons, model_folder, tmp_path):
    layout = tiny_model().layout
    path = tmp_path / "moved.json"
    moved = NeuronSet("g", "/gone/model", layout.hash, {}, [], (Neuron(MLP_GATE, 1, 3),), np.ones(1))
    moved.write(path)
    result = culnig("modules", path, "-o", tmp_path / "plan.yaml")
    assert result.code == 2
    assert "names its model '/gone/model', which cannot be read" in result.err
    assert "--model" in result.err
    more = ("--budget", "0.25", "--model", model_folder, "-o", tmp_path / "plan.yaml")
    assert culnig("modules", path, *more).code == 0
