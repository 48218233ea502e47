from __future__ import annotations

import pytest

from tests.toy import neuron_set, toy_layout


@pytest.fixture
def general(culnig, run_folder, tmp_path):
    file = tmp_path / "general.neurons.json"
    assert culnig("select", "general", run_folder, "--top-mlp", "0.1", "-o", file).code == 0
    return file


def audit(culnig, file, model, *more):
    items = ("--benchmark", "everyday", "--culture", "Spain", "--per-culture", "2")
    return culnig("audit", file, "--model", model, *items, *more)


def test_neurons_are_zeroed_one_by_one(culnig, general, model_folder):
    told = audit(culnig, general, model_folder, "--top", "4", "--json")
    assert told.code == 0, told.err
    assert [row["group"] for row in told.json["neurons"]] == ["top"] * 4 + ["random"] * 4
    assert told.json["n_items"] == 2
    places = {(row["module"], row["layer"], row["index"]) for row in told.json["neurons"]}
    assert len(places) == 8
    assert set(told.json["correlations"]) == {
        f"{what}, {which}" for what in ("score", "linear estimate") for which in ("all", "top")
    }
    assert told.json["low"] == ("warning: scores and exact effects" in told.err)
    printed = audit(culnig, general, model_folder, "--top", "2")
    assert "Rank correlation with the exact effect" in printed.out


def test_what_was_missed_is_bounded(culnig, general, model_folder):
    told = audit(culnig, general, model_folder, "--top", "2", "--bound", "--json")
    assert told.code == 0, told.err
    missed = told.json["missed"]
    assert missed["n_zeroed"] <= 200
    assert sum(row["n_neurons"] for row in missed["strata"]) == missed["n_neurons"]
    assert missed["bound"] is None or missed["bound"] >= missed["largest"] > 0
    again = audit(culnig, general, model_folder, "--top", "2", "--bound", "--json")
    assert again.json["missed"] == missed
    printed = audit(culnig, general, model_folder, "--top", "2", "--bound")
    assert "the largest measured" in printed.out
    assert audit(culnig, general, model_folder, "--top", "2", "--json").json["missed"] is None


def test_mistakes(culnig, general, model_folder, tmp_path):
    many = audit(culnig, general, model_folder, "--top", "500")
    assert many.code == 2
    assert "--top is 500" in many.err
    control = culnig(
        "audit", general, "--model", model_folder, "--benchmark", "everyday-control", "--top", "2"
    )
    assert control.code == 2
    assert "is a control; an audit needs a target benchmark" in control.err
    other = tmp_path / "other.json"
    neuron_set(toy_layout(), [8, 9, 10]).write(other)
    foreign = audit(culnig, other, model_folder, "--top", "2")
    assert foreign.code == 2
    assert "this model has layout" in foreign.err
