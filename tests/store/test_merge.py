from __future__ import annotations

import itertools
import shutil

import h5py
import numpy as np
import pytest

from culnig.core.processes import parse_shard
from culnig.errors import InputError, MismatchError, StoreError
from culnig.scorers.builtin import MeanActivation
from culnig.store.merge import merge
from culnig.store.run import Run
from tests.stored_runs import N_TARGET, assert_same_scores, score_tiny
from tests.tolerances import assert_scores_equal

NAME = "toy-target"


@pytest.fixture(scope="module", params=["culture", "item", "token"])
def shards(request, tmp_path_factory):
    """One run by one process, and the same in three shards."""
    folder = tmp_path_factory.mktemp(f"shards-{request.param}")
    whole = score_tiny(folder / "whole", request.param)
    parts = [folder / f"shard-{number}" for number in (1, 2, 3)]
    for number, part in enumerate(parts, start=1):
        score_tiny(part, request.param, processes=parse_shard(f"{number}/3"))
    return whole, parts


def test_shards_make_the_run_of_one_process_to_the_bit_in_any_order(shards, tmp_path):
    whole, parts = shards
    for number, order in enumerate(itertools.permutations(parts)):
        merged = merge(order, tmp_path / str(number))
        assert_same_scores(merged, whole)
        assert (merged.folder / "scores.h5").read_bytes() == (whole.folder / "scores.h5").read_bytes()
        assert merged.run_id == whole.run_id
        names = lambda run: sorted(path.relative_to(run.folder) for path in run.folder.rglob("*"))  # noqa: E731
        assert names(merged) == names(whole)
    if whole.level == "item":
        np.testing.assert_array_equal(merged.item_scores(NAME), whole.item_scores(NAME))


def test_merging_leaves_the_shards_as_they_were(shards, tmp_path):
    _, parts = shards
    before = [sorted((p, p.read_bytes()) for p in part.rglob("*.h5")) for part in parts]
    shutil.rmtree(merge(parts, tmp_path / "run").folder)
    assert before == [sorted((p, p.read_bytes()) for p in part.rglob("*.h5")) for part in parts]


def test_a_missing_shard_is_named(shards, tmp_path):
    _, parts = shards
    with pytest.raises(StoreError, match="shard 2 of 3 is not among"):
        merge([parts[0], parts[2]], tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_shard_that_is_not_finished_is_named(shards, tmp_path):
    _, parts = shards
    copy = shutil.copytree(parts[1], tmp_path / "half")
    next((copy / "parts").glob("*.h5")).unlink()
    with pytest.raises(StoreError, match=r"parts/.* is missing"):
        merge([parts[0], copy, parts[2]], tmp_path / "run")


def test_shards_and_finished_runs_do_not_mix(shards, tmp_path):
    whole, parts = shards
    with pytest.raises(MismatchError, match="merge all shards of a run first"):
        merge([whole.folder, parts[0]], tmp_path / "run")


@pytest.fixture(scope="module")
def halves(tmp_path_factory):
    folder = tmp_path_factory.mktemp("halves")
    return [
        score_tiny(folder / "first", "item", items=slice(0, 5)),
        score_tiny(folder / "second", "item", items=slice(5, None)),
    ]


def test_runs_over_different_items_add_up(halves, tmp_path):
    merged = merge([run.folder for run in halves], tmp_path / "run")
    one, two = (run.moments(NAME) for run in halves)
    moments = merged.moments(NAME)
    for culture in ("Spain", "China", "Iran"):
        row = moments.cultures.index(culture)
        parts = [each.sum[each.cultures.index(culture)] for each in (one, two)]
        np.testing.assert_allclose(moments.sum[row], parts[0] + parts[1], rtol=1e-15, atol=0)
    assert merged.benchmarks[NAME].n_items == N_TARGET
    assert sorted(merged.outcomes(NAME).id) == sorted(
        [*halves[0].outcomes(NAME).id, *halves[1].outcomes(NAME).id]
    )


def test_the_order_of_runs_does_not_matter(halves, tmp_path):
    folders = [run.folder for run in halves]
    one, other = merge(folders, tmp_path / "one"), merge(folders[::-1], tmp_path / "other")
    assert (one.folder / "scores.h5").read_bytes() == (other.folder / "scores.h5").read_bytes()
    assert one.run_id == other.run_id


def test_item_scores_follow_their_items(halves, tmp_path):
    merged = merge([run.folder for run in halves], tmp_path / "run")
    scores = dict(zip(merged.outcomes(NAME).id, merged.item_scores(NAME), strict=True))
    for run in halves:
        for name, row in zip(run.outcomes(NAME).id, run.item_scores(NAME), strict=True):
            np.testing.assert_array_equal(scores[name], row)


def test_other_scorers_are_merged_too_and_halves_are_not(tmp_path):
    how = {"scorers": (MeanActivation(),), "halves": True}
    folders = [
        score_tiny(tmp_path / name, items=items, **how).folder
        for name, items in (("first", slice(0, 5)), ("second", slice(5, None)))
    ]
    merge(folders, tmp_path / "run")
    merged = Run(tmp_path / "run", "mean-activation").moments(NAME)
    parts = [Run(folder, "mean-activation").moments(NAME) for folder in folders]
    whole = score_tiny(tmp_path / "whole", scorers=(MeanActivation(),))
    expected = Run(whole.folder, "mean-activation").moments(NAME)
    for culture in ("Spain", "China", "Iran"):
        row = merged.sum[merged.cultures.index(culture)]
        added = sum(part.sum[part.cultures.index(culture)] for part in parts)
        np.testing.assert_allclose(row, added, rtol=1e-15, atol=0)
        one = expected.sum[expected.cultures.index(culture)]
        assert_scores_equal(row, one)
    np.testing.assert_array_equal(sorted(merged.n_items), sorted(expected.n_items))
    assert "halves" not in Run(tmp_path / "run").record["settings"]
    with pytest.raises(StoreError, match="halves"):
        Run(tmp_path / "run").first_half(NAME)


def test_an_item_in_two_runs_is_refused_unless_allowed(halves, tmp_path):
    copy = shutil.copytree(halves[0].folder, tmp_path / "copy")
    with pytest.raises(
        MismatchError, match=r"item 'item-\d' of 'toy-\w+' is in .* and in .*allow_overlap=True"
    ):
        merge([halves[0].folder, copy], tmp_path / "run")
    twice = merge([halves[0].folder, copy], tmp_path / "run", allow_overlap=True)
    np.testing.assert_array_equal(twice.moments(NAME).sum, 2 * halves[0].moments(NAME).sum)


def test_runs_of_other_settings_or_models_are_refused(halves, tmp_path):
    other = score_tiny(tmp_path / "mean", "item", aggregator="mean", items=slice(0, 5))
    with pytest.raises(MismatchError, match=r"settings\.aggregator is"):
        merge([halves[1].folder, other.folder], tmp_path / "run")


@pytest.mark.parametrize("how", ["one", "twice", "itself"])
def test_runs_that_cannot_be_merged_are_refused(halves, tmp_path, how):
    folder = halves[0].folder
    given, target, message = {
        "one": ([folder], tmp_path / "run", "give at least two"),
        "twice": ([folder, folder], tmp_path / "run", "given twice"),
        "itself": ([folder, halves[1].folder], folder, "is one of the runs"),
    }[how]
    with pytest.raises(InputError, match=message):
        merge(given, target)


def test_a_damaged_shard_is_named_and_nothing_is_left_half(shards, tmp_path):
    _, parts = shards
    copy = shutil.copytree(parts[0], tmp_path / "damaged")
    part = next((copy / "parts").glob("*.h5"))
    with h5py.File(part, "r+") as file:
        file.attrs["run"] = "0" * 64
    with pytest.raises(StoreError, match="belongs to another run"):
        merge([copy, *parts[1:]], tmp_path / "run")
    with pytest.raises(StoreError):
        Run(tmp_path / "run")
