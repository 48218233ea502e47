"""`score --scorer` and what `select` makes of it."""

from __future__ import annotations

import json

import pytest

from culnig.cli.main import run as run_command
from tests.cli.conftest import score_arguments


@pytest.fixture(scope="module")
def scored(model_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("scorers") / "run"
    arguments = score_arguments(
        model_folder,
        folder,
        "--scorer",
        "positive-tokens",
        "--scorer",
        "mean-activation",
        "--compat",
        "paper",
    )
    assert run_command(arguments) == 0
    return folder


def test_scorers_are_listed(culnig):
    listed = culnig("list", "scorers")
    assert listed.code == 0
    for name in (
        "gradient-activation",
        "positive-tokens",
        "mean-activation",
        "gradient-norm",
        "released-code",
    ):
        assert name in listed.out


def test_lape_makes_a_set_of_every_culture(culnig, scored, tmp_path):
    done = culnig("select", "lape", scored, "-o", tmp_path / "lape", "--top", "0.3", "--percentile", "80")
    assert done.code == 0, done.err
    assert len(list((tmp_path / "lape").glob("*.neurons.json"))) == 16
    one = culnig("select", "cape", scored, "--culture", "Iran", "-o", tmp_path / "iran.neurons.json")
    assert one.code == 0, one.err
    assert json.loads((tmp_path / "iran.neurons.json").read_text())["method"]["name"] == "cape"


def test_compat_and_default_differ_and_both_are_kept(culnig, scored, tmp_path):
    plain, paper = tmp_path / "plain.neurons.json", tmp_path / "paper.neurons.json"
    pools = ("--top-mlp", "0.2", "--top-attention", "0.2")
    assert culnig("select", "general", scored, *pools, "-o", plain).code == 0
    assert culnig("select", "general", scored, *pools, "--compat", "paper", "-o", paper).code == 0
    document = json.loads(paper.read_text())
    assert document["sources"][0]["scorer"] == "released-code"
    assert "scorer" not in json.loads(plain.read_text())["sources"][0]
    different = culnig("neurons", "diff", plain, paper, "--json")
    assert different.code == 0, different.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--scorer", "gradient-norm"], "unknown scorer of run"),
        (["--scorer", "mean-activation", "--compat", "paper"], "leave out --scorer"),
    ],
)
def test_mistakes_with_scorers(culnig, scored, tmp_path, arguments, message):
    done = culnig("select", "general", scored, *arguments, "-o", tmp_path / "x.neurons.json")
    assert done.code == 2
    assert message in done.err


def test_an_unknown_scorer_is_refused_before_the_model_is_loaded(culnig, tmp_path):
    done = culnig(*score_arguments(tmp_path / "no-model", tmp_path / "run", "--scorer", "lrp"))
    assert done.code == 2
    assert "unknown scorer 'lrp'" in done.err


def test_select_lape_needs_its_scorer(culnig, run_folder, tmp_path):
    done = culnig("select", "lape", run_folder, "-o", tmp_path / "lape")
    assert done.code == 2
    assert "add others when scoring, with --scorer" in done.err
