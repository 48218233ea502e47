"""Warnings where numbers are shown: `score`, `evaluate`, `inspect`, and their JSON."""

from __future__ import annotations

import pytest

from culnig.cli.score import _report
from tests.toy import random_moments, toy_layout, write_run

LAYOUT = toy_layout()
FEW = ("--benchmark", "everyday", "--per-culture", "1")


@pytest.fixture
def sound_run(tmp_path):
    """A run whose answers are all right and whose scores are not zero."""
    return write_run(tmp_path / "sound", LAYOUT, {"t": ("target", random_moments(0, LAYOUT.n_neurons))})


def test_score_proposes_a_selection_only_where_it_means_something(
    culnig, model_folder, tmp_path, sound_run, capfd
):
    """The tiny model gives 260 tokens about the same probability."""
    scored = culnig("score", "--model", model_folder, *FEW, "-o", tmp_path / "run")
    assert scored.code == 0, scored.err
    assert "Warning: Option mass near 0: the labels of everyday" in scored.err
    assert "Do not select yet. Option mass near 0" in scored.out.replace("\n", " ")
    assert "Next:" not in scored.out
    _report(sound_run, as_json=False)
    shown = capfd.readouterr().out
    assert "Next: culnig-engine select general" in shown
    assert "Do not select" not in shown


def test_inspect_and_json_have_the_warnings(culnig, model_folder, tmp_path, sound_run):
    scored = culnig("score", "--model", model_folder, *FEW, "-o", tmp_path / "run", "--json")
    kinds = [warning["kind"] for warning in scored.json["warnings"] if warning["stops_selection"]]
    assert "option mass" in kinds
    inspected = culnig("inspect", tmp_path / "run", "--json").json["warnings"]
    assert inspected == scored.json["warnings"]
    assert "Warning: Option mass near 0" in culnig("inspect", tmp_path / "run").out
    assert culnig("inspect", sound_run.folder, "--json").json["warnings"] == []


def test_evaluate_warns_of_the_unmasked_model(culnig, model_folder, tmp_path):
    done = culnig("evaluate", "--model", model_folder, *FEW, "-o", tmp_path / "evaluation", "--json")
    assert done.code == 0, done.err
    assert "Warning: Option mass near 0: the labels of everyday" in done.err
    (warning,) = (each for each in done.json["warnings"] if each["kind"] == "option mass")
    assert warning["benchmark"] == "everyday"
