from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests

from culnig.errors import InputError
from culnig.evaluation import matrix
from culnig.evaluation.conditions import Condition
from culnig.evaluation.matrix import masks_by_culture, selectivity
from tests.toy import answered, items

CULTURES = ("China", "Iran", "Mexico", "Spain", "UK")
QUESTIONS = 8
MASKS = {culture: f"specific {culture}" for culture in CULTURES}


def evaluated(fall, benchmark="blend", cultures=CULTURES):
    """Answers in which P(gold) of culture j falls by `fall[i][j]` under the mask of culture i."""
    asked = items(cultures, questions=QUESTIONS)
    own = np.repeat(np.arange(len(cultures)), QUESTIONS)
    noise = np.random.default_rng(0).normal(scale=0.01, size=len(asked))
    answers = {(benchmark, "unmasked"): answered(asked, [True] * len(asked), 0.8 + noise)}
    for mask, falls in zip(CULTURES, fall, strict=True):
        p_gold = 0.8 + noise - np.asarray(falls, float)[own]
        answers[benchmark, MASKS[mask]] = answered(asked, p_gold > 0.5, p_gold)
    return answers


def matrix_of(fall, **options):
    return selectivity(evaluated(fall), ["blend"], MASKS, metric="p_gold", **options)


def test_the_matrix_holds_the_change_of_every_pair():
    fall = np.arange(25).reshape(5, 5) / 100
    found = matrix_of(fall)
    np.testing.assert_allclose(found.change, -fall, atol=1e-12)
    assert found.masked == found.evaluated == CULTURES
    assert found.n_items.tolist() == [QUESTIONS] * 5


def test_specific_masks_have_rank_one_and_the_smallest_p_of_five_cultures():
    found = matrix_of(0.1 + 0.3 * np.eye(5))
    assert found.own_rank.tolist() == [1.0] * 5
    assert found.dominance == pytest.approx(0.3)
    assert found.dominance_p == 1 / 120
    assert (found.own_p < 0.05).all()


def test_own_p_is_the_share_of_sign_patterns_adjusted_by_statsmodels():
    found = matrix_of(np.diag([0.3, 0.01, 0.002, 0.0, -0.01]))
    answers, shares = evaluated(np.diag([0.3, 0.01, 0.002, 0.0, -0.01])), []
    for number, culture in enumerate(CULTURES):
        own = slice(number * QUESTIONS, (number + 1) * QUESTIONS)
        change = answers["blend", MASKS[culture]].p_gold[own] - answers["blend", "unmasked"].p_gold[own]
        totals = [np.dot(signs, change) for signs in itertools.product((1, -1), repeat=QUESTIONS)]
        shares.append(np.mean(np.array(totals) <= change.sum() + 1e-9))
    assert shares[0] == 1 / 2**QUESTIONS
    np.testing.assert_allclose(found.own_p, multipletests(shares, method="holm")[1])


def test_a_strong_mask_and_a_weak_culture_are_not_specific():
    strong = np.zeros((5, 5))
    strong[2] = 0.4
    assert matrix_of(strong).dominance_p == 1.0
    weak = np.zeros((5, 5))
    weak[:, 3] = 0.4
    assert matrix_of(weak).dominance_p == 1.0
    assert matrix_of(weak).dominance == pytest.approx(0.0)


def test_p_of_dominance_by_hand():
    fall = np.zeros((5, 5))
    fall[0, 0] = fall[1, 1] = 0.3
    found = matrix_of(fall)
    # assignments that keep 0 and 1 fixed: the other three in any order, 3! of 5!
    assert found.dominance_p == pytest.approx(6 / 120)


def test_ranks_share_ties_and_are_averaged_over_benchmarks():
    asked = {**evaluated(0.3 * np.eye(5), "a"), **evaluated(np.zeros((5, 5)), "b")}
    found = selectivity(asked, ["a", "b"], MASKS, metric="p_gold")
    assert found.own_rank.tolist() == [(1 + 3) / 2] * 5  # all equal: rank 3 of five
    np.testing.assert_allclose(np.diagonal(found.change), -0.15)


def test_a_culture_that_only_one_benchmark_asks_counts_there_alone():
    one = evaluated(0.3 * np.eye(5), "a")
    without = {
        key: answered(items(CULTURES[:4], QUESTIONS), [True] * 4 * QUESTIONS, 0.8)
        for key in (("b", name) for name in ("unmasked", *MASKS.values()))
    }
    found = selectivity({**one, **without}, ["a", "b"], MASKS, metric="p_gold")
    assert found.change[4, 4] == pytest.approx(-0.3)
    assert found.change[0, 0] == pytest.approx(-0.15)
    assert found.n_items.tolist() == [2 * QUESTIONS] * 4 + [QUESTIONS]


def test_related_cultures_that_fall_too_are_seen():
    related = {"Mexico": ["Spain", "USA"], "Spain": ["Mexico"]}
    fall = 0.3 * np.eye(5)
    fall[2, 3] = fall[3, 2] = 0.2
    found = matrix_of(fall, related=related)
    assert found.related == pytest.approx(-0.2)
    # of the ten pairs of cultures that could be the related one, this one: 12 of 120 relabellings
    assert found.related_p == pytest.approx(12 / 120)
    assert matrix_of(fall).related is None


def test_cultures_without_a_mask_are_columns_at_the_end():
    masks = {culture: MASKS[culture] for culture in ("Spain", "China", "Iran")}
    found = selectivity(evaluated(0.3 * np.eye(5)), ["blend"], masks, metric="p_gold")
    assert found.evaluated == ("Spain", "China", "Iran", "Mexico", "UK")
    assert found.change.shape == (3, 5)
    np.testing.assert_allclose(np.diagonal(found.change), -0.3)


def test_many_cultures_are_dealt_at_random_with_the_given_order_among_them(monkeypatch):
    monkeypatch.setattr(matrix, "DEALINGS", 100)
    found = matrix_of(0.3 * np.eye(5))
    assert found.dominance_p == pytest.approx(0.01, abs=0.02)
    assert found.dominance_p >= 1 / 100


def test_the_document_is_strict_json():
    document = matrix_of(0.3 * np.eye(5)).document()
    assert json.loads(json.dumps(document, allow_nan=False)) == document


def test_a_masked_culture_without_items_is_refused():
    answers = evaluated(np.zeros((5, 4)), cultures=CULTURES[:4])
    with pytest.raises(InputError, match=r"'UK' has a neuron set but no items.*China, Iran, Mexico, Spain"):
        selectivity(answers, ["blend"], MASKS)


def condition(name, culture, like=None):
    return Condition(name, 0.0, np.array([1]), like=like, culture=culture)


def test_masks_are_the_sets_that_name_a_culture():
    conditions = [condition("unmasked", None), condition("s1", "Iran"), condition("general", None)]
    assert masks_by_culture([*conditions, condition("s2", "UK")]) == {"Iran": "s1", "UK": "s2"}
    with pytest.raises(InputError, match="at least two cultures"):
        masks_by_culture(conditions)
    with pytest.raises(InputError, match="two neuron sets are for Iran: 's1' and 's3'"):
        masks_by_culture([*conditions, condition("s3", "Iran")])
