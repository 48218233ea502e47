"""The commands in the order a user runs them, on a tiny model."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from culnig.store.run import Run
from tests.cli.conftest import score_arguments


def test_score_writes_the_files_of_the_contract(run_folder):
    with h5py.File(run_folder / "scores.h5") as file:
        assert file.attrs["format"] == "culnig-run"
        assert file.attrs["format_version"] == 1
        assert set(file["layout"]) == {"module", "layer", "start", "width"}
        n_neurons = int(file["layout/width"][:].sum())
        assert set(file["benchmarks"]) == {"everyday", "everyday-control", "country-rc"}
        group = file["benchmarks/everyday"]
        assert dict(group.attrs) == {"role": "target", "split": "identify"}
        assert group["sum"].shape == (16, n_neurons)
        assert group["sum"].dtype == np.float64
        assert group["positive_count"].dtype == np.uint32
        assert {"id", "culture", "gold", "predicted", "confidence"} <= set(group["items"])
        assert (file["benchmarks/everyday-control/sum"][:] >= 0).all()
    assert not (run_folder / "parts").exists()
    assert not list(run_folder.rglob("*.tmp"))


def test_select_evaluate_and_inspect(culnig, run_folder, model_folder, tmp_path):
    general, specific = tmp_path / "general.neurons.json", tmp_path / "spain.neurons.json"
    selected = culnig("select", "general", run_folder, "-o", general, "--top-mlp", "0.1", "--json")
    assert selected.code == 0, selected.err
    pools = selected.json["method"]["pools"]
    assert pools["mlp"]["before_exclusion"] == int(0.1 * 3 * 40)
    assert selected.json["n_neurons"] == pools["mlp"]["kept"] + pools["attention"]["kept"]
    chosen = culnig(
        "select", "specific", run_folder, "--culture", "Spain", "--top", "0.3", "--z", "0", "-o", specific
    )
    assert chosen.code == 0, chosen.err
    evaluation = tmp_path / "evaluation"
    done = culnig(
        *("evaluate", "--model", model_folder, "--benchmark", "everyday", "--per-culture", "1"),
        *("--neurons", general, "--neurons", specific, "--random-baseline", "2"),
        *("-o", evaluation, "--json"),
    )
    assert done.code == 0, done.err
    conditions = [row["condition"] for row in done.json["rows"]]
    assert conditions == [
        "unmasked",
        "general",
        "random 0 like general",
        "random 1 like general",
        "specific Spain",
        "random 0 like specific Spain",
        "random 1 like specific Spain",
    ]
    for row in done.json["rows"]:
        assert row["n"] == 16
        assert 0 <= row["p_gold"] <= row["option_mass"] <= 1
        assert row["accuracy"] <= row["option_accuracy"]
    set_row = done.json["rows"][1]
    assert set_row["against_random"]["accuracy"]["n_random"] == 2
    assert 0 < set_row["p_value"] <= 1
    for path in (run_folder, general, evaluation):
        shown = culnig("inspect", path)
        assert shown.code == 0, shown.err
        assert shown.out.strip()
        assert culnig("inspect", path, "--json").json["kind"]


def test_select_twice_gives_identical_files(culnig, run_folder, tmp_path):
    for name in ("one.json", "two.json"):
        assert culnig("select", "general", run_folder, "-o", tmp_path / name).code == 0
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()


def test_random_set_from_the_command_line(culnig, run_folder, tmp_path):
    like, drawn = tmp_path / "like.json", tmp_path / "random.json"
    assert culnig("select", "general", run_folder, "-o", like, "--top-mlp", "0.1").code == 0
    made = culnig("select", "random", run_folder, "--like", like, "--seed", "3", "-o", drawn, "--json")
    assert made.json["method"]["seed"] == 3
    assert made.json["n_neurons"] == culnig("inspect", like, "--json").json["n_neurons"]


def test_scoring_again_gives_the_same_bits(culnig, run_folder, model_folder, tmp_path):
    again = tmp_path / "again"
    assert culnig(*score_arguments(model_folder, again)).code == 0
    with h5py.File(run_folder / "scores.h5") as first, h5py.File(again / "scores.h5") as second:
        for name in first["benchmarks"]:
            np.testing.assert_array_equal(
                first[f"benchmarks/{name}/sum"][:], second[f"benchmarks/{name}/sum"][:]
            )


@pytest.mark.usefixtures("cheap_passes")
def test_prompts_share_what_they_begin_with_unless_told_not_to(culnig, run_folder, model_folder, tmp_path):
    shared, whole = tmp_path / "shared", Run(run_folder)
    asked = ("score", "--model", model_folder, "--benchmark", "everyday-control", "--per-culture", "1")
    assert culnig(*asked, "-o", shared).code == 0
    found = Run(shared)
    assert found.record["settings"]["prefix_sharing"] is True
    assert whole.record["settings"]["prefix_sharing"] is False
    sums, expected = (run.moments("everyday-control").sum for run in (found, whole))
    assert not np.array_equal(sums, expected)
    np.testing.assert_allclose(sums, expected, rtol=0, atol=1e-4 * expected.max())
    refused = culnig(*asked, "-o", shared, "--resume", "--no-prefix-sharing")
    assert refused.code == 2
    assert "settings.prefix_sharing" in refused.err


def test_json_prints_one_document_and_nothing_else_on_standard_output(culnig, model_folder, tmp_path):
    result = culnig(*score_arguments(model_folder, tmp_path / "run", "--json"))
    assert [row["benchmark"] for row in result.json["benchmarks"]] == [
        "country-rc",
        "everyday",
        "everyday-control",
    ]
    assert "score everyday: 16/16" in result.err  # progress goes to standard error, in plain lines


@pytest.mark.parametrize("what", ["models", "benchmarks", "cultures", "plugins"])
def test_list_shows_what_is_registered(culnig, what):
    assert culnig("list", what).out.strip()
    assert culnig("list", what, "--json").json["problems"] == []


def test_every_command_has_help(culnig):
    for command in ("demo", "score", "select", "evaluate", "inspect", "list"):
        assert command in culnig("--help").out
        assert "Usage" in culnig(command, "--help").out
