"""Stability and permutation from the items of a real run of a tiny model."""

from __future__ import annotations

import numpy as np
import pytest

from culnig.cli.main import run
from culnig.errors import SelectionError
from culnig.selection.neuron_set import read_neuron_set
from culnig.selection.resampling import resampled_tables, whole
from culnig.selection.significance import culture_contrast, general_contrast
from culnig.selection.stored_items import group_of, groups_of_run, items_of_run, permuted_p_values
from culnig.selection.tables import choose_roles, selection_tables
from culnig.store.run import Run
from tests.toy import write_toy_run


@pytest.fixture(scope="module")
def item_run(model_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("items") / "run"
    named = [
        part for name in ("everyday", "everyday-control", "country-rc") for part in ("--benchmark", name)
    ]
    cultures = [part for name in ("China", "Iran", "Mexico") for part in ("--culture", name)]
    asked = ["score", "--model", str(model_folder), *named, *cultures, "--per-culture", "5"]
    assert run([*asked, "--level", "item", "-o", str(folder)]) == 0
    return Run(folder)


def test_all_items_once_are_the_stored_tables(item_run):
    items = items_of_run(item_run, choose_roles(item_run))
    (table,) = resampled_tables(items, [whole(items)])
    stored = selection_tables(item_run)
    scale = np.abs(stored.difference).max()
    np.testing.assert_allclose(table.difference, stored.difference, atol=1e-12 * scale)
    assert table.cultures == stored.cultures
    for row, culture in enumerate(stored.exclusion.cultures):
        expected = stored.exclusion.rows([culture])[0]
        found = table.exclusion.rows([culture])[0]
        assert np.argsort(found).tolist() == np.argsort(expected).tolist(), row


def test_stability_is_told_and_made_a_rule(culnig, item_run, tmp_path):
    asked = (
        *("select", "general", item_run.folder, "--top-mlp", "0.2", "--top-attention", "0.2"),
        *("--resamples", "10", "-o", tmp_path / "x.json", "--overwrite"),
    )
    told = culnig(*asked, "--stability", "--json")
    assert told.code == 0, told.err
    stability = told.json["method"]["stability"]
    assert [found["kind"] for found in stability["agreement"]][:2] == ["bootstrap", "split half"]
    assert all(0 <= found["by_chance"] < found["jaccard"] <= 1 for found in stability["agreement"])
    frequency = read_neuron_set(tmp_path / "x.json").columns["frequency"]
    assert stability["selected_stable"] == int((frequency >= 0.8).sum())
    kept = culnig(*asked, "--stable", "0.8")
    assert kept.code == 0, kept.err
    assert f"{stability['selected_stable']} of" in kept.out
    assert read_neuron_set(tmp_path / "x.json").columns["frequency"].min() >= 0.8


@pytest.mark.parametrize(
    "ranking", [(), ("--rank-by", "shrunken-z"), ("--rank-by", "share", "--shrink", "0.8")], ids=str
)
def test_specific_neurons_with_both_kinds_of_evidence(culnig, item_run, tmp_path, ranking):
    result = culnig(
        *("select", "specific", item_run.folder, "--culture", "all", "--top", "0.2", "--z", "-10", *ranking),
        *("--stability", "--resamples", "5", "--permutations", "200", "-o", tmp_path / "sets", "--json"),
    )
    assert result.code == 0, result.err
    for found in result.json["sets"]:
        assert {test["test"] for test in found["method"]["significance"]} == {"permutation of questions"}
        assert found["method"]["rank_by"] == ("difference", *ranking)[2 if ranking else 0]
        chosen = read_neuron_set(tmp_path / "sets" / f"{found['name'].split()[1]}.neurons.json")
        assert set(chosen.columns) == {"q_value", "frequency"}


def test_permutation_on_stored_items_is_that_on_arrays(item_run):
    from culnig.selection.permutation import exchange_p_values, paired_p_values

    roles = choose_roles(item_run)
    positions = item_run.layout.pool("mlp")
    items = items_of_run(item_run, roles)
    target, control = (table.scores(slice(None))[:, positions] for table in (items.target, items.control))
    found = permuted_p_values(item_run, roles, general_contrast(roles), positions, 99)
    assert found.tolist() == paired_p_values(target, control, items.target.unit, permutations=99).tolist()
    contrast = culture_contrast(roles, "Iran", "others")
    found = permuted_p_values(item_run, roles, contrast, positions, 99, culture="Iran")
    expected = exchange_p_values(
        target - control, items.target.culture, "Iran", items.target.unit, permutations=99
    )
    assert found.tolist() == expected.tolist()


def test_groups_are_wordings_topics_or_questions(item_run):
    outcomes = item_run.outcomes("everyday")
    assert set(group_of(outcomes, "wording")) == {"the only wording"}  # ids end in the culture
    assert len(set(group_of(outcomes, "question"))) == 5
    kind, groups = groups_of_run(item_run, choose_roles(item_run))
    assert kind == "topic"
    assert set(groups) == {"target", "control"}
    several = item_run.outcomes("country-rc")
    assert 2 <= len(set(group_of(several, "wording"))) <= 4


def test_a_run_without_item_scores_says_what_to_do(culnig, tmp_path):
    run_folder = write_toy_run(tmp_path / "run").folder
    for more in (["--stability"], ["--stable", "0.8"], ["--permutations", "10"]):
        result = culnig("select", "general", run_folder, *more, "-o", tmp_path / "x.json")
        assert result.code == 2
        assert "score it again with --level item" in result.err
        assert not (tmp_path / "x.json").exists()


def test_a_permutation_against_no_control_is_refused(item_run):
    roles = choose_roles(item_run, use_control=False)
    with pytest.raises(SelectionError, match="leave out control=False"):
        permuted_p_values(item_run, roles, general_contrast(roles), item_run.layout.pool("mlp"), 9)


@pytest.fixture(scope="module")
def halves_run(model_folder, tmp_path_factory):
    """Sums of two halves, no item scores."""
    folder = tmp_path_factory.mktemp("halves") / "run"
    named = [part for name in ("everyday", "everyday-control") for part in ("--benchmark", name)]
    cultures = [part for name in ("China", "Iran", "Mexico") for part in ("--culture", name)]
    asked = ["score", "--model", str(model_folder), *named, *cultures, "--per-culture", "4", "--halves"]
    assert run([*asked, "--scorer", "mean-activation", "-o", str(folder)]) == 0
    return folder


@pytest.mark.parametrize("scorer", [(), ("--scorer", "mean-activation")])
def test_halves_kept_at_culture_level_are_compared(culnig, halves_run, tmp_path, scorer):
    options = ("--no-exclusion", "--pool", "mlp=0.2", "--stability", *scorer)
    file = tmp_path / "general.neurons.json"
    told = culnig("select", "general", halves_run, *options, "-o", file)
    assert told.code == 0, told.err
    assert "split half (4 questions): Jaccard" in told.out
    assert "in 1), by chance" in told.out
    stability = read_neuron_set(file).method["stability"]
    assert [found["kind"] for found in stability["agreement"]] == ["split half"]
    assert 0 <= stability["agreement"][0]["jaccard"] <= 1
    several = culnig(
        *("select", "specific", halves_run, "--culture", "all", "--no-exclusion", "--top", "0.1"),
        *("--stability", "-o", tmp_path / "specific"),
    )
    assert several.code == 0, several.err


def test_what_halves_cannot_tell(culnig, halves_run, tmp_path):
    asked = ("select", "general", halves_run, "--no-exclusion", "-o", tmp_path / "x.json")
    stable = culnig(*asked, "--stable", "0.8")
    assert stable.code == 2
    assert "--stable counts resamples" in stable.err
    assert "score it again with --level item" in stable.err


def test_item_scores_are_not_taken_for_those_of_another_scorer(culnig, model_folder, tmp_path):
    folder = tmp_path / "run"
    asked = ("score", "--model", model_folder, "--benchmark", "everyday", "--per-culture", "2")
    assert culnig(*asked, "--level", "item", "--scorer", "mean-activation", "-o", folder).code == 0
    options = ("--no-control", "--no-exclusion", "--scorer", "mean-activation", "--stability")
    done = culnig("select", "general", folder, *options, "-o", tmp_path / "x.json")
    assert done.code == 2
    assert "item scores of gradient × activation only, not of mean-activation" in done.err
    tested = culnig(
        "select", "general", folder, *options[:-1], "--permutations", "9", "-o", tmp_path / "x.json"
    )
    assert tested.code == 2
    assert "item scores of gradient × activation only, not of mean-activation" in tested.err
