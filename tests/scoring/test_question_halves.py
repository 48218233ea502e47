"""Halves of the questions: how they are drawn, and their sums against the item scores of the same run."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from culnig import registry
from culnig.benchmarks.base import ChosenItems
from culnig.core.processes import parse_shard
from culnig.errors import StoreError
from culnig.reanalysis.reduce import Reducer, Reduction
from culnig.scoring.question_halves import half_by_culture, half_of_items
from culnig.scoring.run import RunSettings, score_portions, score_run
from culnig.scoring.scoring import ScoreSettings
from culnig.selection.halves import half_kind
from culnig.store.merge import merge
from culnig.store.run import Run
from tests.stored import document_of
from tests.tiny_models import tiny_items, tiny_model
from tests.tolerances import assert_scores_equal
from tests.toy import CULTURES, items, write_toy_run

SETTINGS = ScoreSettings(token_budget=100)
"""Small batches, so that there are several portions."""


def halves_of(asked, halving=half_of_items):
    """The halves that each question is in, by question."""
    found = {item.question: set() for item in asked}
    for item, number in zip(asked, halving(asked), strict=True):
        found[item.question].add(int(number))
    return found


def test_questions_stay_whole_over_rows_and_cultures():
    found = halves_of(items(("China", "Iran"), questions=7, per_question=3))
    assert all(len(of_question) == 1 for of_question in found.values())
    in_order = [min(found[f"q{number}"]) for number in range(7)]
    assert Counter(in_order) == {1: 4, 2: 3}
    assert in_order not in ([1, 2] * 3 + [1], [1] * 4 + [2] * 3)  # not by number


def declared():
    """Rows with ids of their own for each culture, as a declared benchmark has them."""
    asked = items(("China", "Iran"), questions=8)
    return [
        replace(item, question_id=f"line {number}", unit=item.question_id)
        for number, item in enumerate(asked)
    ]


def test_rows_of_one_question_are_in_one_half_whatever_their_ids():
    found = halves_of(declared())
    assert Counter(min(of_question) for of_question in found.values()) == {1: 4, 2: 4}
    assert all(len(of_question) == 1 for of_question in found.values())


def test_questions_that_some_cultures_were_not_asked_stay_whole():
    asked = [item for item in items(questions=6) if (item.culture, item.question_id) != ("China", "q0")]
    assert all(len(of_question) == 1 for of_question in halves_of(asked).values())
    alone = [replace(item, question_id=f"{item.culture}-{item.question_id}") for item in items(questions=6)]
    counts = Counter((question.split("-")[0], *of) for question, of in halves_of(alone).items())
    assert counts == {(culture, half): 3 for culture in CULTURES for half in (1, 2)}


def test_earlier_versions_halved_each_culture_by_its_own_ids():
    ranked = sorted(range(8), key=lambda n: hashlib.sha256(f"line {n}".encode()).digest())
    expected = {line: 1 + rank % 2 for rank, line in enumerate(ranked)}
    assert half_by_culture(declared())[:8].tolist() == [expected[line] for line in range(8)]
    assert {1, 2} in halves_of(declared(), half_by_culture).values()
    same = items(questions=5)
    np.testing.assert_array_equal(half_by_culture(same), half_of_items(same))


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


def test_a_run_that_an_earlier_version_halved_is_finished_with_its_halves_and_says_so(tmp_path):
    asked = [
        replace(item, question_id=f"line {number}", unit=f"q{number % 5}")
        for number, item in enumerate(tiny_items(30))
    ]
    chosen, how = {"toy": ChosenItems("target", "identify", asked)}, RunSettings(halves=True)
    run = score_run(tiny_model(), chosen, SETTINGS, tmp_path / "run", run_settings=how)
    assert run.record["settings"]["halves"] == "whole questions"
    assert half_kind(run) == "split half"
    answers = run.outcomes("toy")
    first = half_of_items(asked) == 1
    assert run.first_half("toy")[0].tolist() == [
        int((first & (answers.culture == culture)).sum()) for culture in run.benchmarks["toy"].cultures
    ]
    record = document_of(run.folder / "run.json")
    record["settings"]["halves"] = True
    (run.folder / "run.json").write_text(json.dumps(record), encoding="utf-8")
    (run.folder / "scores.h5").unlink()
    resumed = score_run(tiny_model(), chosen, SETTINGS, tmp_path / "run", run_settings=how, resume=True)
    assert resumed.record["settings"]["halves"] is True
    old = half_by_culture(asked) == 1
    assert (old != first).any()
    assert resumed.first_half("toy")[0].tolist() == [
        int((old & (answers.culture == culture)).sum()) for culture in run.benchmarks["toy"].cultures
    ]
    assert half_kind(resumed) == "split half of each culture's questions, as an earlier version stored them"


def test_a_culture_with_one_question_is_in_the_first_half(tmp_path):
    one = [replace(item, question_id="only") for item in tiny_items(9)]
    chosen = {"toy": ChosenItems("target", "identify", one)}
    run = score_run(tiny_model(), chosen, SETTINGS, tmp_path / "run", run_settings=RunSettings(halves=True))
    n_items, sums = run.first_half("toy")
    np.testing.assert_array_equal(n_items, run.moments("toy").n_items)
    np.testing.assert_array_equal(sums, run.moments("toy").sum)
