"""`select` on stored runs: every option, and every mistake that the command itself must catch."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from culnig.core.neurons import MLP_GATE, MLP_UP, Layout
from culnig.selection.neuron_set import read_neuron_set
from culnig.selection.tables import selection_tables
from tests.selection.test_significance import moments_of
from tests.toy import CULTURES, random_moments, toy_layout, write_run, write_toy_run

LAYOUT = toy_layout()


@pytest.fixture
def run(tmp_path):
    return write_toy_run(tmp_path / "run")


@pytest.fixture
def item_run(tmp_path):
    """A run made from item scores: the first ten gate neurons answer to culture, more to China."""
    random = np.random.default_rng(1)
    gate = LAYOUT.pool("mlp")[:10]

    def items(number):
        target = random.gamma(2, 1, (12, LAYOUT.n_neurons))
        target[:, gate] += 6 + 12 * (number == 0)
        return target

    target = {culture: items(number) for number, culture in enumerate(CULTURES)}
    control = {culture: random.gamma(2, 1, (12, LAYOUT.n_neurons)) for culture in CULTURES}
    tables = {"t": ("target", moments_of(target)), "c": ("control", moments_of(control))}
    return write_run(tmp_path / "run", LAYOUT, tables)


def test_other_pools_in_place_of_the_two(culnig, run, tmp_path):
    result = culnig(
        *("select", "general", run.folder, "--pool", "mlp.up_proj=0.5", "--pool", "self_attn.v_proj=1"),
        *("--exclude", "0", "-o", tmp_path / "x.json", "--json"),
    )
    assert result.code == 0, result.err
    counts = {}
    for row in result.json["by_module_and_layer"]:
        counts[row["module"]] = counts.get(row["module"], 0) + row["n"]
    assert counts == {MLP_UP: 15, "self_attn.v_proj": 6}
    assert result.json["method"]["top"] == {"mlp.up_proj": 0.5, "self_attn.v_proj": 1.0}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--pool", "mlp"], "'mlp' is no pool and fraction"),
        (["--pool", "mlp=1.5"], "1.5 is not in the range 0<=x<=1"),
        (["--pool", "mlp=x"], "'x' is not a valid float"),
        (["--pool", "mpl=0.1"], "unknown pool or module 'mpl'; did you mean 'mlp'"),
        (["--pool", "mlp=0.1", "--pool", "all=0.1"], "both contain mlp.gate_proj"),
        (["--pool", "mlp=0.1", "--pool", "mlp=0.2"], "names a pool twice"),
        (["--pool", "mlp=0.1", "--top-mlp", "0.1"], "--pool already sets --top-mlp"),
        (["--preset", "paper", "--exclude", "0.1"], "--preset already sets --exclude"),
        (["--top-mlp", "-0.1"], "-0.1 is not in the range"),
        (["--exclude", "nan"], "nan"),
        (["--fdr", "1"], "1.0 is not in the range"),
        (["--fdr", "0"], "0.0 is not in the range"),
    ],
)
def test_impossible_options_of_general_are_refused(culnig, run, tmp_path, options, message):
    result = culnig("select", "general", run.folder, "-o", tmp_path / "x.json", *options)
    assert result.code == 2
    assert message in result.err
    assert not (tmp_path / "x.json").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--z", "nan"], "z is nan"),
        (["--top", "1.1"], "1.1 is not in the range"),
        (["--pool", "gate"], "unknown pool or module 'gate'"),
        (["--culture", "Mexico"], "no items of Mexico, only of China, Iran"),
        (["--culture", "all"], "no items of Mexico, Spain, only of China, Iran"),
        (["--culture", "Chnia"], "did you mean 'China'"),
        (["--no-control", "--fdr", "0.05", "--against", "control"], "leave out --no-control"),
    ],
)
def test_impossible_options_of_specific_are_refused(culnig, run, tmp_path, options, message):
    culture = [] if "--culture" in options else ["--culture", "China"]
    result = culnig("select", "specific", run.folder, *culture, "-o", tmp_path / "x.json", *options)
    assert result.code == 2
    assert message in result.err
    assert not (tmp_path / "x.json").exists()


def test_fewer_than_three_cultures_are_too_few_for_z(culnig, tmp_path):
    run = write_toy_run(tmp_path / "run", CULTURES[:2])
    result = culnig("select", "specific", run.folder, "--culture", "China", "-o", tmp_path / "x.json")
    assert result.code == 2
    assert "at least 3 cultures, but this run has 2" in result.err


@pytest.mark.parametrize("way", [["--no-exclusion"], ["--exclude", "0"]])
def test_every_culture_of_the_run_gets_a_set_of_its_own(culnig, run, tmp_path, way):
    result = culnig(
        *("select", "specific", run.folder, "--culture", "all", "--top", "0.5", *way),
        *("-o", tmp_path / "sets", "--json"),
    )
    assert result.code == 0, result.err
    assert [found["name"] for found in result.json["sets"]] == [f"specific {culture}" for culture in CULTURES]
    alone = culnig(
        *("select", "specific", run.folder, "--culture", "Spain", "--top", "0.5", *way),
        *("-o", tmp_path / "spain.json"),
    )
    assert alone.code == 0
    assert (tmp_path / "sets" / "Spain.neurons.json").read_bytes() == (tmp_path / "spain.json").read_bytes()


def test_sets_of_several_cultures_are_not_replaced_unasked(culnig, run, tmp_path):
    arguments = (
        *("select", "specific", run.folder, "--culture", "China", "--culture", "Iran", "--top", "0.5"),
        *("-o", tmp_path / "sets"),
    )
    assert culnig(*arguments).code == 0
    again = culnig(*arguments)
    assert again.code == 2
    assert "China.neurons.json exists; add --overwrite" in again.err
    assert culnig(*arguments, "--overwrite").code == 0
    (tmp_path / "file").write_text("")
    onto_file = culnig(*arguments[:-1], tmp_path / "file")
    assert onto_file.code == 2
    assert "is a file; give a folder with -o" in onto_file.err


def test_without_exclusion_items_an_exclusion_of_zero_is_enough(culnig, item_run, tmp_path):
    asked = ("select", "general", item_run.folder, "-o", tmp_path / "x.json")
    refused = culnig(*asked)
    assert refused.code == 2
    assert "no exclusion benchmark" in refused.err
    assert culnig(*asked, "--exclude", "0").code == 0


def test_significance_is_counted_or_made_a_rule(culnig, item_run, tmp_path):
    asked = (
        *("select", "general", item_run.folder, "--top-mlp", "0.5", "--top-attention", "0.5"),
        *("--no-exclusion", "--json", "-o", tmp_path / "x.json", "--overwrite"),
    )
    told = culnig(*asked, "--significance").json
    (found,) = told["method"]["significance"]
    assert told["n_neurons"] == found["selected"] == 15 + 12
    assert found["tested"] == 54
    assert found["selected_significant"] == 10
    assert "do not score higher than control" in found["null"]
    kept = culnig(*asked, "--fdr", "0.05").json
    assert kept["n_neurons"] == 10
    chosen = read_neuron_set(tmp_path / "x.json")
    assert set(chosen.flat(LAYOUT)) == set(LAYOUT.pool("mlp")[:10])
    assert chosen.columns["q_value"].max() <= 0.05


def test_a_culture_is_tested_against_its_control_and_the_others(culnig, item_run, tmp_path):
    asked = (
        *("select", "specific", item_run.folder, "--top", "0.4", "--z", "-10", "--no-exclusion"),
        *("--json", "-o", tmp_path / "x.json", "--overwrite", "--fdr", "0.05"),
    )
    china, spain = (culnig(*asked, "--culture", name).json for name in ("China", "Spain"))
    against_control, against_others = china["method"]["significance"]
    assert (against_control["is_rule"], against_others["is_rule"]) == (False, True)
    assert china["n_neurons"] == 10
    assert spain["n_neurons"] == 0  # as strong as its control allows, but no stronger than the others
    assert 10 <= spain["method"]["significance"][0]["selected_significant"] <= 12  # 5 % may be false
    by_control = culnig(*asked, "--culture", "Spain", "--against", "control").json
    assert 10 <= by_control["n_neurons"] <= 12
    alone = culnig(*asked, "--culture", "China", "--no-control").json
    assert len(alone["method"]["significance"]) == 1


def test_several_sets_are_told_in_one_table(culnig, item_run, tmp_path):
    result = culnig(
        *("select", "specific", item_run.folder, "--culture", "all", "--top", "0.4", "--z", "-10"),
        *("--no-exclusion", "--significance", "-o", tmp_path / "sets"),
    )
    assert result.code == 0, result.err
    assert "significant against control" in result.out
    assert "significant against others" in result.out
    assert "10 of 21" in next(line for line in result.out.splitlines() if "specific China" in line)


def test_survivors_are_printed_with_the_null_hypothesis(culnig, item_run, tmp_path):
    result = culnig(
        *("select", "general", item_run.folder, "--top-mlp", "0.5", "--no-exclusion", "--significance"),
        *("-o", tmp_path / "x.json"),
    )
    assert "general: 10 of 15 survive at a false discovery rate of 0.05" in result.out
    assert "Null hypothesis: target items do not score higher" in result.out


def test_the_papers_preset_shows_its_figure_beside_ours(culnig, tmp_path, monkeypatch):
    layout = Layout.from_widths(
        [(0, MLP_GATE, 458_752), (0, "self_attn.q_proj", 196_608), (0, MLP_UP, 1)]
    )  # pools of Llama-3.1-8B
    tables = {
        name: (role, moments_of({c: np.ones((2, layout.n_neurons)) * k for c in ("China",)}))
        for name, role, k in (("t", "target", 2), ("c", "control", 1), ("x", "exclusion", 0))
    }
    run = write_run(tmp_path / "run", layout, tables)
    result = culnig("select", "general", run.folder, "--preset", "paper", "-o", tmp_path / "x.json")
    assert result.code == 0, result.err
    # all scores tie, and ties go to the lower index: the exclusion takes the very neurons that were kept
    assert "Published for Llama-3.1-8B-Instruct: 4,268 neurons; here 0" in result.out
    method = json.loads((tmp_path / "x.json").read_text())["method"]
    assert (
        method["pools"]["mlp"]["before_exclusion"] + method["pools"]["attention"]["before_exclusion"] == 4980
    )
    assert method["preset"] == "paper"
    assert method["published"] == {"name": "Llama-3.1-8B-Instruct", "n_general": 4268}


def test_the_preset_without_a_published_model_sets_the_fractions(culnig, run, tmp_path):
    result = culnig(
        *("select", "specific", run.folder, "--culture", "China", "--preset", "paper"),
        *("-o", tmp_path / "x.json", "--json"),
    )
    method = result.json["method"]
    assert (method["top"], method["exclude"], method["z"], method["preset"]) == (0.003, 0.01, 0.5, "paper")


def test_other_rankings_and_the_best_preset(culnig, run, tmp_path):
    asked = ("select", "specific", run.folder, "--culture", "China", "-o", tmp_path / "x.json", "--overwrite")
    best = culnig(*asked, "--preset", "best", "--json")
    assert best.code == 0, best.err
    method = best.json["method"]
    assert (method["rank_by"], method["shrink"], method["top"]) == ("shrunken-z", 0.5, 0.003)
    share = culnig(*asked, "--rank-by", "share", "--shrink", "0.8", "--json")
    assert (share.json["method"]["rank_by"], share.json["method"]["shrink"]) == ("share", 0.8)
    for wrong, message in (
        (("--shrink", "0.8"), "--shrink belongs to --rank-by shrunken-z and --rank-by share"),
        (("--shrink", "1.1", "--rank-by", "share"), "1.1 is not in the range"),
        (("--preset", "best", "--rank-by", "margin"), "--preset already sets --rank-by"),
    ):
        refused = culnig(*asked, *wrong)
        assert refused.code == 2
        assert message in refused.err
    general = culnig("select", "general", run.folder, "-o", tmp_path / "y.json", "--preset", "best")
    assert general.code == 2


def test_imported_sums_are_ranked_by_shrunken_z(culnig, tmp_path):
    sums_only = {
        name: (role, replace(own, sum_of_squares=np.full_like(own.sum, np.nan)))
        for name, role, own in (
            ("t", "target", random_moments(0, LAYOUT.n_neurons)),
            ("c", "control", random_moments(1, LAYOUT.n_neurons)),
        )
    }
    imported = write_run(tmp_path / "imported", LAYOUT, sums_only)
    done = culnig(
        *("select", "specific", imported.folder, "--culture", "Iran", "--rank-by", "shrunken-z"),
        *("--top", "0.2", "--z", "-9", "-o", tmp_path / "x.json", "--no-exclusion", "--json"),
    )
    assert done.code == 0, done.err
    assert done.json["n_neurons"] == 10


def test_the_command_and_the_library_select_alike(culnig, run, tmp_path):
    from culnig.selection.general import GeneralSettings, select_general

    culnig(
        *("select", "general", run.folder, "--top-mlp", "0.3", "--top-attention", "0.2"),
        *("--exclude", "0.1", "-o", tmp_path / "command.json"),
    )
    select_general(selection_tables(run), GeneralSettings(0.3, 0.2, 0.1)).write(tmp_path / "library.json")
    assert (tmp_path / "command.json").read_bytes() == (tmp_path / "library.json").read_bytes()
