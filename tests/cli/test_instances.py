from __future__ import annotations

import h5py
import pytest


@pytest.fixture
def general(culnig, run_folder, tmp_path):
    path = tmp_path / "general.json"
    assert culnig("select", "general", run_folder, "--top-mlp", "0.1", "-o", path).code == 0
    return path


def arguments(model, neurons, output, *more):
    return [
        *(
            "instances",
            "--model",
            model,
            "--benchmark",
            "everyday",
            "--culture",
            "Spain",
            "--per-culture",
            "2",
        ),
        *("--neurons", neurons, "-o", output, *more),
    ]


def test_it_scores_every_problem_with_the_control_of_the_benchmark(culnig, model_folder, general, tmp_path):
    output = tmp_path / "instances.h5"
    done = culnig(*arguments(model_folder, general, output, "--json"))
    assert done.code == 0, done.err
    assert done.json["control"] == "everyday-control"
    assert set(done.json["measures"]) == {"difference", "raw"}
    found = done.json["measures"]["difference"]
    assert found["overall"]["n"] == done.json["n_items"] == 2
    assert [group["group"] for group in found["by_culture"]] == ["Spain"]
    assert len(found["neurons"]) == done.json["n_neurons"]
    with h5py.File(output) as file:
        assert file["raw"].shape == file["control"].shape == (2, done.json["n_neurons"])
    refused = culnig(*arguments(model_folder, general, output))
    assert refused.code == 2
    assert "--overwrite" in refused.err
    table = culnig(*arguments(model_folder, general, output, "--overwrite", "--no-control"))
    assert "sum positive" in table.out
    assert "best topic" in table.out


def test_one_benchmark_and_one_way_of_control_are_asked_for(culnig, model_folder, general, tmp_path):
    output = tmp_path / "instances.h5"
    two = culnig(*arguments(model_folder, general, output, "--benchmark", "country-rc"))
    assert two.code == 2
    assert "give --benchmark once" in two.err
    both = culnig(*arguments(model_folder, general, output, "--no-control", "--control", "country-rc"))
    assert both.code == 2
    assert not output.exists()
