"""`select_general`, `select_specific_sets` and their options, against plain numpy on a toy run."""

from __future__ import annotations

import numpy as np
import pytest

from culnig.core.neurons import MLP_GATE, QUERY
from culnig.errors import InputError, OutputExistsError, SelectionError, UnknownNameError
from culnig.selection.neuron_set import as_neuron_set
from culnig.selection.select import (
    known_cultures,
    opened,
    select_general,
    select_specific,
    select_specific_sets,
    set_files,
)
from culnig.store.run import Run
from tests.toy import CULTURES, random_moments, toy_layout, write_run, write_toy_run

LAYOUT = toy_layout()
TARGET, CONTROL = (random_moments(seed, 84).sum / 12 for seed in (0, 1))
"""Culture scores: four cultures of three items."""
EXCLUSION = random_moments(2, 84, CULTURES[:2]).sum / 6


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write_toy_run(tmp_path_factory.mktemp("select") / "run")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The same with an exclusion of every culture."""
    roles = {"t": "target", "c": "control", "x": "exclusion"}
    tables = {name: (role, random_moments(seed, 84)) for seed, (name, role) in enumerate(roles.items())}
    return write_run(tmp_path_factory.mktemp("select") / "run", LAYOUT, tables)


def best(pool, score, share, exclusion=None, exclude=0.0):
    """The share of a pool with the highest scores, without the share with the highest exclusion scores."""
    flat = LAYOUT.pool(pool).tolist()
    kept = sorted(flat, key=lambda n: (-score[n], n))[: int(share * len(flat))]
    removed = []
    if exclusion is not None:
        removed = sorted(flat, key=lambda n: (-exclusion[n], n))[: int(exclude * len(flat))]
    return [n for n in kept if n not in removed]


def flat_of(chosen):
    return chosen.flat(LAYOUT).tolist()


@pytest.mark.parametrize(
    ("options", "shares", "exclude", "use_control"),
    [
        ({"top_mlp": 0.5, "top_attention": 0.25, "exclude": 0.2}, {"mlp": 0.5, "attention": 0.25}, 0.2, True),
        ({"top_mlp": 0.5, "top_attention": 0.25, "exclude": 0.0}, {"mlp": 0.5, "attention": 0.25}, 0.0, True),
        ({"top_mlp": 0.3, "top_attention": 1.0}, {"mlp": 0.3, "attention": 1.0}, 0.01, True),
        ({"pools": {QUERY: 0.5, MLP_GATE: 0.2}, "exclude": 0.5}, {QUERY: 0.5, MLP_GATE: 0.2}, 0.5, True),
        ({"pools": [("all", 0.4)], "control": False, "exclude": 0.3}, {"all": 0.4}, 0.3, False),
        ({"pools": [("all", 0.4)], "exclusion": False, "exclude": 0.3}, {"all": 0.4}, 0.0, True),
    ],
    ids=str,
)
def test_general_neurons_are_the_best_of_each_pool(run, options, shares, exclude, use_control):
    score = TARGET.sum(axis=0) - (CONTROL.sum(axis=0) if use_control else 0)
    kept = [n for pool, share in shares.items() for n in best(pool, score, share, EXCLUSION.sum(0), exclude)]
    chosen = select_general(run, **options)
    assert flat_of(chosen) == sorted(kept, key=lambda n: (-score[n], n))
    np.testing.assert_allclose(chosen.scores, score[flat_of(chosen)])


@pytest.mark.parametrize("rank_by", [None, "difference", "margin"])
@pytest.mark.parametrize("control", [None, False])
def test_specific_neurons_are_the_best_that_stand_out_among_the_cultures(whole, rank_by, control):
    difference = TARGET - (CONTROL if control is None else 0)
    z = (difference - difference.mean(axis=0)) / difference.std(axis=0)
    exclusion = random_moments(2, 84).sum / 12
    sets = select_specific_sets(whole, top=0.5, exclude=0.1, z=0.25, rank_by=rank_by, control=control)
    assert list(sets) == list(CULTURES)
    for row, culture in enumerate(CULTURES):
        score = difference[row] - (difference.mean(axis=0) if rank_by == "margin" else 0)
        expected = [n for n in best("all", score, 0.5, exclusion[row], 0.1) if z[row, n] >= 0.25]
        assert flat_of(sets[culture]) == expected
        assert len(expected) > 3
    alone = select_specific(whole, "Iran", top=0.5, exclude=0.1, z=0.25, rank_by=rank_by, control=control)
    assert alone.neurons == sets["Iran"].neurons


@pytest.mark.parametrize(("rank_by", "shrink"), [("shrunken-z", None), ("shrunken-z", 0.9), ("share", 0.2)])
def test_specific_neurons_by_their_spread_over_cultures(whole, rank_by, shrink):
    difference, pool = TARGET - CONTROL, LAYOUT.pool("all")
    chosen = select_specific(
        whole, "Iran", top=0.5, exclude=0, z=-9.0, exclusion=False, rank_by=rank_by, shrink=shrink
    )
    above = difference[1] - (difference.mean(axis=0) if rank_by == "shrunken-z" else 0)
    spread = difference.std(axis=0) if rank_by == "shrunken-z" else np.abs(difference).sum(axis=0)
    s0 = np.quantile(spread[pool], 0.5 if shrink is None else shrink)
    score = above / (spread + s0)
    assert flat_of(chosen) == best("all", score, 0.5)
    np.testing.assert_allclose(chosen.scores, score[flat_of(chosen)])
    assert chosen.method["s0"] == pytest.approx(s0)
    assert (chosen.method["rank_by"], chosen.method["shrink"]) == (rank_by, shrink or 0.5)


def test_the_best_preset_ranks_by_shrunken_z_of_the_best_scorer_of_the_run(run, tmp_path):
    without = select_specific(run, "Iran", preset="best", exclusion=False)
    assert without.method["preset"] == "best"
    assert (without.method["rank_by"], without.method["shrink"]) == ("shrunken-z", 0.5)
    assert "scorer" not in without.sources[0]
    scored = write_toy_run(tmp_path / "run", scorers=("relp", "crispr", "relp-log-odds"))
    best_of_it = select_specific(scored, "Iran", preset="best")
    assert best_of_it.sources[0]["scorer"] == "relp-log-odds"
    assert select_specific(scored, "Iran", preset="best", scorer="crispr").sources[0]["scorer"] == "crispr"
    assert (
        "scorer"
        not in select_specific(scored, "Iran", preset="best", scorer="gradient-activation").sources[0]
    )
    only_relp = write_toy_run(tmp_path / "other", scorers=("relp",))
    assert select_specific(only_relp, "Iran", preset="best").sources[0]["scorer"] == "relp"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"preset": "best", "shrink": 0.9, "top": 0.1}, "preset already sets top, shrink"),
        ({"shrink": 0.9}, "shrink belongs to rank_by='shrunken-z' and rank_by='share', not to 'difference'"),
        ({"shrink": 1.5, "rank_by": "share"}, "shrink is 1.5; give a quantile from 0 to 1"),
        ({"rank_by": "zscore"}, "allowed are difference, margin, shrunken-z, share"),
    ],
    ids=str,
)
def test_rankings_that_do_not_fit_are_refused(whole, options, message):
    with pytest.raises((InputError, SelectionError)) as caught:
        select_specific(whole, "Iran", **options)
    assert message in str(caught.value)


def test_a_pool_and_no_lowest_z(whole):
    chosen = select_specific(whole, "Spain", pool=MLP_GATE, top=0.5, exclude=0.0, z=-99.0)
    assert flat_of(chosen) == best(MLP_GATE, (TARGET - CONTROL)[3], 0.5)


def test_cultures_without_an_exclusion_are_named_at_once(run):
    with pytest.raises(SelectionError, match="no items of Mexico, Spain, only of China, Iran"):
        select_specific_sets(run)
    assert list(select_specific_sets(run, ("Iran", "China", "Iran"))) == ["Iran", "China"]
    for without in ({"exclude": 0.0}, {"exclusion": False}):
        assert list(select_specific_sets(run, **without)) == list(CULTURES)


def test_cultures_are_those_asked_for_each_once():
    assert known_cultures("Iran", CULTURES) == ("Iran",)
    assert known_cultures(("Spain", "Iran", "Spain"), CULTURES) == ("Spain", "Iran")
    assert known_cultures(("Iran", "all"), CULTURES) == CULTURES
    with pytest.raises(UnknownNameError, match="did you mean 'Iran'"):
        known_cultures(("Irn",), CULTURES)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"preset": "paper", "exclude": 0.1}, "preset already sets exclude"),
        ({"preset": "paper", "top_mlp": 0.1, "exclude": 0.1}, "preset already sets top_mlp, exclude"),
        ({"preset": "book"}, "preset"),
        ({"pools": {"all": 0.1}, "top_mlp": 0.1}, "pools already sets top_mlp"),
        ({"pools": [("all", 0.1), ("all", 0.2)]}, "pools names a pool twice: all, all"),
        ({"compat": "paper", "scorer": "relp"}, "compat='paper' names a scorer; leave out scorer"),
        ({"compat": "book"}, "compat"),
        ({"scorer": "relp"}, "relp"),
    ],
    ids=str,
)
def test_options_that_do_not_fit_each_other_are_refused(run, options, message):
    with pytest.raises((InputError, SelectionError, UnknownNameError)) as caught:
        select_general(run, **options)
    assert message in str(caught.value)


def test_the_preset_of_the_paper_is_its_shares(run):
    preset = select_general(run, preset="paper")
    assert preset.method["preset"] == "paper"
    plain = select_general(run, top_mlp=0.01, top_attention=0.002, exclude=0.01)
    assert preset.neurons == plain.neurons
    assert "preset" not in plain.method


def test_all_is_not_a_single_culture(run):
    with pytest.raises(InputError, match="'all' is not a single culture"):
        select_specific(run, "all")


def test_sets_are_written_and_never_replaced_unasked(run, tmp_path):
    chosen = select_general(run, top_mlp=0.5, out=tmp_path / "g.json")
    assert as_neuron_set(tmp_path / "g.json").neurons == chosen.neurons
    with pytest.raises(OutputExistsError, match=r"g\.json exists"):
        select_general(run, top_mlp=0.2, out=tmp_path / "g.json")
    other = select_general(run, top_mlp=0.2, out=tmp_path / "g.json", overwrite=True)
    assert as_neuron_set(tmp_path / "g.json").neurons == other.neurons != chosen.neurons
    sets = select_specific_sets(run, ("China", "Iran"), out=tmp_path / "sets")
    for culture, own in sets.items():
        assert as_neuron_set(tmp_path / "sets" / f"{culture}.neurons.json").neurons == own.neurons
    with pytest.raises(OutputExistsError, match=r"China\.neurons\.json exists"):
        select_specific_sets(run, ("China", "Mexico"), exclude=0.0, out=tmp_path / "sets")
    assert sorted(path.name for path in (tmp_path / "sets").glob("*.json")) == [
        "China.neurons.json",
        "Iran.neurons.json",
    ]


def test_files_of_sets_are_in_one_folder(tmp_path):
    run = tmp_path / "run"
    files = set_files(tmp_path / "a", ("Iran", "West Java"), False, run)
    assert [file.relative_to(tmp_path).as_posix() for file in files] == [
        "a/Iran.neurons.json",
        "a/West_Java.neurons.json",
    ]
    (tmp_path / "a").mkdir(exist_ok=True)
    (tmp_path / "a" / "Iran.neurons.json").write_text("")
    with pytest.raises(OutputExistsError, match=r"Iran\.neurons\.json exists; add overwrite=True"):
        set_files(tmp_path / "a", ("China", "Iran"), False, run)
    assert len(set_files(tmp_path / "a", ("China", "Iran"), True, run)) == 2
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputExistsError, match="file is a file; give a folder"):
        set_files(tmp_path / "file", ("Iran",), True, run)


def test_a_run_may_be_open_or_a_folder(run):
    assert opened(run) is run
    again = opened(run.folder)
    assert isinstance(again, Run)
    assert again.scorer is None
