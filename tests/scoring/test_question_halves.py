"""Halves of the questions: how they are drawn, and their sums against the item scores of the same run."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from culnig import registry
from culnig.benchmarks.base import ChosenItems
from culnig.core.processes import parse_shard
from culnig.errors import StoreError
from culnig.reanalysis.reduce import Reducer, Reduction
from culnig.scoring.question_halves import half_of_items
from culnig.scoring.run import RunSettings, score_portions, score_run
from culnig.scoring.scoring import ScoreSettings
from culnig.store.merge import merge
from culnig.store.run import Run
from tests.tiny_models import tiny_items, tiny_model
from tests.tolerances import assert_scores_equal
from tests.toy import items, write_toy_run

SETTINGS = ScoreSettings(token_budget=100)
"""Small batches, so that there are several portions."""


def test_questions_are_halved_within_each_culture_and_stay_whole():
    asked = items(("China", "Iran"), questions=7, per_question=3)
    half = half_of_items(asked)
    whole = {(item.culture, item.question_id): set() for item in asked}
    for item, number in zip(asked, half, strict=True):
        whole[item.culture, item.question_id].add(int(number))
    assert all(len(found) == 1 for found in whole.values())
    counts = Counter((culture, *found) for (culture, _), found in whole.items())
    assert counts == {("China", 1): 4, ("China", 2): 3, ("Iran", 1): 4, ("Iran", 2): 3}
    in_order = [min(whole["China", f"q{number}"]) for number in range(7)]
    assert in_order not in ([1, 2] * 3 + [1], [1] * 4 + [2] * 3)  # not by number


def test_halves_do_not_depend_on_the_order_of_items_or_on_other_cultures():
    asked = items(("China", "Iran"), questions=9)
    half = dict(zip([item.id for item in asked], half_of_items(asked), strict=True))
    backwards = asked[::-1]
    assert dict(zip([item.id for item in backwards], half_of_items(backwards), strict=True)) == half
    alone = [item for item in asked if item.culture == "Iran"]
    assert {item.id: half[item.id] for item in alone} == dict(
        zip([item.id for item in alone], half_of_items(alone), strict=True)
    )


@pytest.fixture(scope="module")
def benchmarks():
    asked = [replace(item, question_id=f"q{number // 6}") for number, item in enumerate(tiny_items(80))]
    return {
        "toy": ChosenItems("target", "identify", asked),
        "toy-control": ChosenItems("control", "identify", asked[:50]),
    }


@pytest.fixture(scope="module")
def run(benchmarks, tmp_path_factory):
    how = RunSettings(level="item", halves=True, scorers=(registry.scorer("positive-tokens"),))
    return score_run(
        tiny_model(), benchmarks, SETTINGS, tmp_path_factory.mktemp("halves") / "run", run_settings=how
    )


@pytest.mark.parametrize("name", ["toy", "toy-control"])
def test_the_first_half_is_the_sum_of_its_items(run, benchmarks, name):
    chosen, answers = benchmarks[name], run.outcomes(name)
    first = half_of_items(chosen.items) == 1
    scores = run.item_scores(name) * answers.p_gold[:, None]
    if chosen.role == "control":
        scores = np.maximum(scores, 0)
    n_items, sums = run.first_half(name)
    for row, culture in enumerate(run.benchmarks[name].cultures):
        own = first & (answers.culture == culture)
        assert n_items[row] == own.sum() > 0
        np.testing.assert_allclose(sums[row], scores[own].sum(axis=0), rtol=1e-12, atol=1e-18)
    assert 0 < first.sum() < len(first)


def test_other_scorers_have_halves_too(run, benchmarks):
    scorer = Run(run.folder, "positive-tokens")
    n_items, sums = scorer.first_half("toy")
    np.testing.assert_array_equal(n_items, run.first_half("toy")[0])
    assert (sums <= scorer.moments("toy").sum).all()
    assert 0 < sums.sum() < scorer.moments("toy").sum.sum()


def test_sums_over_all_are_those_of_a_run_without_halves(run, benchmarks, tmp_path):
    plain = score_run(tiny_model(), benchmarks, SETTINGS, tmp_path / "plain")
    for name in benchmarks:
        assert_scores_equal(run.moments(name).sum, plain.moments(name).sum)
        np.testing.assert_array_equal(run.moments(name).n_items, plain.moments(name).n_items)
    with pytest.raises(StoreError, match="neither item scores nor halves"):
        plain.first_half("toy")
    with pytest.raises(StoreError, match="score it again with level='item', or with halves=True"):
        write_toy_run(tmp_path / "old").first_half("toy-target")


def test_shards_make_the_run_of_one_process_to_the_bit(benchmarks, tmp_path):
    how = RunSettings(halves=True)
    whole = score_run(tiny_model(), benchmarks, SETTINGS, tmp_path / "whole", run_settings=how)
    shards = [tmp_path / str(number) for number in (1, 2)]
    for number, folder in enumerate(shards, start=1):
        score_portions(
            tiny_model(), benchmarks, SETTINGS, folder, parse_shard(f"{number}/2"), run_settings=how
        )
    merged = merge(shards, tmp_path / "merged")
    assert merged.scores_hash == whole.scores_hash


def test_merged_and_reduced_runs_keep_no_halves(run, benchmarks, tmp_path):
    toy = benchmarks["toy"]
    parts = [tmp_path / str(number) for number in (1, 2)]
    for folder, asked in zip(parts, (toy.items[:40], toy.items[40:]), strict=True):
        score_run(
            tiny_model(),
            {"toy": replace(toy, items=asked)},
            SETTINGS,
            folder,
            run_settings=RunSettings(halves=True),
        )
    merged = merge(parts, tmp_path / "merged")
    assert merged.moments("toy").n_items.sum() == 80
    reduced = Reducer(run, Reduction(), 1 << 30).write(tmp_path / "reduced")
    np.testing.assert_array_equal(reduced.moments("toy").sum, run.moments("toy").sum)
    for made in (merged, reduced):
        with pytest.raises(StoreError, match="with halves=True for split halves alone"):
            made.first_half("toy")


def test_a_culture_with_one_question_is_in_the_first_half(tmp_path):
    one = [replace(item, question_id="only") for item in tiny_items(9)]
    chosen = {"toy": ChosenItems("target", "identify", one)}
    run = score_run(tiny_model(), chosen, SETTINGS, tmp_path / "run", run_settings=RunSettings(halves=True))
    n_items, sums = run.first_half("toy")
    np.testing.assert_array_equal(n_items, run.moments("toy").n_items)
    np.testing.assert_array_equal(sums, run.moments("toy").sum)
