"""`select crispr`, `ig` and `knowledge-neurons` on runs of a tiny model."""

from __future__ import annotations

import json

import pytest

from culnig.cli.main import run as run_command


@pytest.fixture(scope="module")
def scored(model_folder, tmp_path_factory):
    """Item scores and CRISPR's sums of one benchmark."""
    folder = tmp_path_factory.mktemp("neighbours") / "run"
    cultures = [part for name in ("China", "Iran") for part in ("--culture", name)]
    asked = [
        "score",
        "--model",
        str(model_folder),
        "--benchmark",
        "everyday",
        *cultures,
        "--per-culture",
        "2",
    ]
    assert run_command([*asked, "--level", "item", "--scorer", "crispr", "-o", str(folder)]) == 0
    return folder


def test_crispr_is_one_set_or_one_of_each_culture(culnig, scored, tmp_path):
    file = tmp_path / "crispr.neurons.json"
    done = culnig("select", "crispr", scored, "--top", "0.1", "-o", file)
    assert done.code == 0, done.err
    document = json.loads(file.read_text())
    assert document["method"]["name"] == "crispr"
    assert document["sources"][0]["scorer"] == "crispr"
    assert set(document["sources"][0]["benchmarks"]) == {"target"}
    each = culnig(
        *("select", "crispr", scored, "--culture", "all", "--top", "0.1", "-o", tmp_path / "each", "--json")
    )
    assert {made["name"] for made in each.json["sets"]} == {"crispr China", "crispr Iran"}


def test_knowledge_neurons_per_culture(culnig, scored, tmp_path):
    done = culnig("select", "knowledge-neurons", scored, "-o", tmp_path / "each", "--json")
    assert done.code == 0, done.err
    assert {made["name"] for made in done.json["sets"]} == {
        "knowledge-neurons China",
        "knowledge-neurons Iran",
    }
    file = tmp_path / "iran.neurons.json"
    options = ("--culture", "Iran", "--threshold", "0.1", "--shared", "0.5", "--pool", "all")
    assert culnig("select", "knowledge-neurons", scored, *options, "-o", file).code == 0
    document = json.loads(file.read_text())
    assert (document["method"]["threshold"], document["method"]["shared"]) == (0.1, 0.5)
    assert len(document["neurons"]["index"]) > 0
    assert min(document["neurons"]["score"]) >= 0.5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ig"], "'integrated-gradients'; known: crispr"),
        (["crispr", "--culture", "Atlantis"], "unknown culture of this run"),
        (["knowledge-neurons", "--culture", "Atlantis"], "unknown culture of this run"),
        (["knowledge-neurons", "--shared", "0"], "--shared"),
        (["knowledge-neurons", "--threshold", "1.5"], "--threshold"),
    ],
)
def test_mistakes(culnig, scored, tmp_path, arguments, message):
    method, *options = arguments
    done = culnig("select", method, scored, *options, "-o", tmp_path / "x.neurons.json")
    assert done.code == 2
    assert message in done.err
    assert not (tmp_path / "x.neurons.json").exists()


def test_knowledge_neurons_need_item_scores(culnig, run_folder, tmp_path):
    done = culnig("select", "knowledge-neurons", run_folder, "-o", tmp_path / "x")
    assert done.code == 2
    assert "score it again with --level item" in done.err
