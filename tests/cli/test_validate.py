"""`culnig-engine validate`: sizes it refuses, and a small world from end to end."""

from __future__ import annotations

import numpy as np
import pytest

from culnig.cli.validate import EXIT_FAILED
from culnig.scorers.base import GRADIENT_ACTIVATION
from culnig.selection.neuron_set import read_neuron_set
from culnig.selection.specific import SpecificSettings, select_specific
from culnig.selection.tables import selection_tables
from culnig.store.run import Run
from culnig.validation import planted as planted_module
from culnig.validation import training
from culnig.validation.methods import RANDOM
from tests.planted import BASELINES
from tests.stored import document_of

SMALL = ("--cultures", 3, "--questions", 4, "--neurons-per-culture", 4, "--layers", 2, "--mlp-width", 32)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--cultures", 2), "cultures is 2; give at least 3"),
        (("--cultures", 17), "at most 16"),
        (("--neurons-per-culture", 100), "900 planted neurons; at most half"),
        (("--seed", -1), "seed is -1"),
    ],
)
def test_impossible_sizes_are_refused(culnig, arguments, reason):
    done = culnig("validate", *arguments)
    assert done.code == 2
    assert reason in done.err


def test_a_folder_with_something_else_in_it_is_left_alone(culnig, tmp_path):
    (tmp_path / "diary.txt").write_text("dear diary")
    done = culnig("validate", *SMALL, "-o", tmp_path)
    assert done.code == 2
    assert "not empty" in done.err
    done = culnig("validate", *SMALL, "-o", tmp_path, "--overwrite")
    assert done.code == 2
    assert "is not a validation of culnig" in done.err
    assert (tmp_path / "diary.txt").read_text() == "dear diary"


@pytest.fixture
def hardly_trained(monkeypatch):
    """A few steps of training: everything runs, nothing is learned."""
    monkeypatch.setattr(training, "BASE_STEPS", 3)
    monkeypatch.setattr(training, "PLANTING_STEPS", 3)
    monkeypatch.setattr(planted_module, "_made", {})


def test_an_untrained_world_fails_and_keeps_everything(culnig, hardly_trained, tmp_path):
    folder = tmp_path / "validation"
    done = culnig("validate", *SMALL, "-o", folder, "--json")
    assert done.code == EXIT_FAILED
    assert done.json == document_of(folder / "results.json")
    assert done.json["holds"] is False
    missed = [target["name"] for target in done.json["targets"] if not target["holds"]]
    assert "share of planted facts known" in missed

    mexico = read_neuron_set(folder / "planted" / "China.neurons.json")
    run = Run(folder / "run")
    assert mexico.layout_hash == run.layout.hash
    row = next(row for row in done.json["methods"] if row["method"] == "gradient-activation + control + z")
    chosen = select_specific(selection_tables(run, use_exclusion=False), "China", SpecificSettings())
    assert row["by_culture"]["China"]["selected"] == len(chosen.neurons)
    shares = {found["chance"] for found in row["by_culture"].values()}
    assert shares == {4 / 64}
    statistics = {row["statistic"] for row in done.json["methods"]} - {GRADIENT_ACTIVATION, RANDOM}
    assert set(run.record["settings"]["scorers"]) == statistics >= set(BASELINES) - {RANDOM}

    again = culnig("validate", *SMALL, "-o", folder)
    assert again.code == 2
    replaced = culnig("validate", *SMALL, "-o", folder, "--overwrite")
    assert replaced.code == EXIT_FAILED
    assert "share of planted facts known" in replaced.out
    assert "NO" in replaced.out


@pytest.mark.parametrize("experts", [1, 4])
def test_the_kept_model_can_be_loaded_and_masked(culnig, hardly_trained, tmp_path, experts):
    folder = tmp_path / "validation"
    assert culnig("validate", *SMALL, "--experts", experts, "-o", folder).code == EXIT_FAILED
    done = culnig("inspect", folder / "planted" / "shared.neurons.json", "--json")
    assert done.code == 0
    from culnig.api import load_model

    bound = load_model(str(folder / "model"))
    chosen = read_neuron_set(folder / "planted" / "shared.neurons.json")
    assert np.unique(chosen.flat(bound.layout)).size == 4
    assert bound.layout.n_experts == (0 if experts == 1 else 2 * experts)
