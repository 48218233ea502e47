"""`reduce`, `merge` and `inspect` as a user runs them, on stored runs of a tiny model."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from culnig.store.run import Run
from tests.cli.conftest import score_arguments
from tests.stored_runs import assert_same_scores


@pytest.fixture(scope="module")
def token_run(model_folder, tmp_path_factory):
    from culnig.cli.main import run

    folder = tmp_path_factory.mktemp("token") / "run"
    assert run([*score_arguments(model_folder, folder), "--level", "token"]) == 0
    return folder


@pytest.fixture(scope="module")
def item_run(token_run, tmp_path_factory):
    from culnig.cli.main import run

    folder = tmp_path_factory.mktemp("item") / "run"
    assert run(["reduce", str(token_run), "-o", str(folder), "--level", "item"]) == 0
    return folder


def test_reduce_with_the_same_settings_is_the_run(culnig, run_folder, token_run, tmp_path):
    done = culnig("reduce", token_run, "-o", tmp_path / "run", "--json")
    assert done.code == 0, done.err
    assert_same_scores(Run(tmp_path / "run"), Run(run_folder))
    assert {row["benchmark"] for row in done.json["benchmarks"]} == set(Run(run_folder).benchmarks)


def test_the_way_from_tensors_over_item_scores_to_a_neuron_set(culnig, item_run, tmp_path):
    half = tmp_path / "half"
    assert culnig("reduce", item_run, "-o", half, "--modules", "gate_proj", "--layers", "0-1").code == 0
    chosen = tmp_path / "gate.neurons.json"
    done = culnig("select", "general", half, "--pool", "mlp=0.2", "--no-exclusion", "-o", chosen, "--json")
    if done.code == 2:  # the option of the pools is tested with `select`
        done = culnig(
            "select", "general", half, "--top-mlp", "0.2", "--top-attention", "0", "-o", chosen, "--json"
        )
    assert done.code == 0, done.err
    assert done.json["n_neurons"] > 0
    from culnig.selection.neuron_set import read_neuron_set

    assert read_neuron_set(chosen).layout_hash == Run(item_run).layout.hash, "the set fits the whole model"


def test_inspect_shows_what_raised_the_best_neurons(culnig, item_run):
    done = culnig("inspect", item_run, "--top", "4", "--json")
    assert done.code == 0, done.err
    rows = done.json["neurons"]
    assert len(rows) == 4
    assert [row["score"] for row in rows] == sorted((row["score"] for row in rows), reverse=True)
    assert all(item["text"] for row in rows for item in row["items"])
    table = culnig("inspect", item_run, "--top", "2")
    assert rows[0]["items"][0]["id"] in table.out


def test_inspect_at_level_culture_says_where_items_are_kept(culnig, run_folder):
    done = culnig("inspect", run_folder, "--top", "2")
    assert done.code == 0, done.err
    assert "level item or token" in done.out


def test_verify_says_ok_or_what_is_damaged(culnig, item_run, tmp_path):
    assert culnig("inspect", item_run, "--verify").code == 0
    damaged = shutil.copytree(item_run, tmp_path / "run")
    part = max((damaged / "items").iterdir(), key=lambda path: path.stat().st_size)
    data = bytearray(part.read_bytes())
    data[len(data) // 2] ^= 1
    part.write_bytes(data)
    done = culnig("inspect", damaged, "--verify", "--json")
    assert done.code == 1
    assert [state["file"] for state in done.json["files"] if state["problem"]][:1] == [f"items/{part.name}"]
    reduced = culnig("reduce", damaged, "-o", tmp_path / "reduced")
    assert reduced.code == 2
    assert part.name in reduced.err


def test_shards_are_merged_to_the_run(culnig, run_folder, model_folder, tmp_path):
    folders = [tmp_path / "one", tmp_path / "two"]
    for number, folder in enumerate(folders, start=1):
        done = culnig(*score_arguments(model_folder, folder, "--shard", f"{number}/2"))
        assert done.code == 0, done.err
        assert "merge" in done.out
    unfinished = culnig("select", "general", folders[0], "-o", tmp_path / "x.json")
    assert unfinished.code == 2
    shown = culnig("inspect", folders[0])
    assert "merge it with the other shards" in shown.out
    done = culnig("merge", *folders, "-o", tmp_path / "run", "--json")
    assert done.code == 0, done.err
    assert_same_scores(Run(tmp_path / "run"), Run(run_folder))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--memory", "much"], "'much' is not a size"),
        (["--memory", "0"], "'0' is not a size"),
        (["--layers", "one"], "'one' is neither a layer nor a range"),
        (["--aggregator", "mean", "--half", "3"], "3 is not in the range"),
        (["--items", "nobody"], "no stored item of benchmark"),
    ],
)
def test_mistakes_of_reduce(culnig, item_run, tmp_path, arguments, message):
    done = culnig("reduce", item_run, "-o", tmp_path / "run", *arguments)
    assert done.code == 2
    assert message in done.err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("shard", ["0/2", "3/2", "one", "1/0"])
def test_mistakes_of_a_shard(culnig, model_folder, tmp_path, shard):
    done = culnig(*score_arguments(model_folder, tmp_path / "run", "--shard", shard))
    assert done.code == 2
    assert "I/N with I from 1 to N" in done.err


def test_verify_and_top_are_for_runs(culnig, tmp_path):
    (tmp_path / "file.json").write_text("{}")
    done = culnig("inspect", tmp_path / "file.json", "--verify")
    assert done.code == 2
    assert "for run folders" in done.err


def test_sums_hold_what_the_item_scores_say(item_run):
    run = Run(item_run)
    for name in run.benchmarks:
        weighted = run.item_scores(name).astype(float) * run.outcomes(name).p_gold[:, None]
        if run.benchmarks[name].role == "control":
            weighted = np.maximum(weighted, 0)
        np.testing.assert_allclose(run.moments(name).sum.sum(0), weighted.sum(0), rtol=1e-10, atol=1e-18)
        np.testing.assert_array_equal(run.total(name), run.moments(name).sum.sum(0))
