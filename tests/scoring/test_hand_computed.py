"""Scores of a model that is differentiated by hand in `toy_model`."""

from __future__ import annotations

import math

import numpy as np
import pytest

from culnig.inference.encoding import Encoder
from culnig.scoring.scoring import ScoreSettings, score_benchmark
from tests.scoring.toy_model import toy_batch, toy_bound

pytestmark = pytest.mark.processors


def score(monkeypatch, prompts, cultures, *, role="target", aggregator="max", bias=5.0, budget=2048):
    batch = toy_batch(prompts, cultures)
    monkeypatch.setattr(Encoder, "encode_all", lambda self, items: list(batch.items))
    items = [encoded.item for encoded in batch.items]
    settings = ScoreSettings(aggregator=aggregator, token_budget=budget)
    return score_benchmark(toy_bound(bias), items, role, settings)


def test_scores_of_one_prompt_by_hand(monkeypatch):
    scores = score(monkeypatch, [[1, 2]], ["Spain"])
    # P = 0.5. Contributions (token 1, token 2), dP/dm_2 = 0.25 · dh/dm_2 = 0.25:
    #   q: (0, 2 · 0.25 · Σ k v) = (0, 2 · 0.25 · 5) = (0, 2.5)
    #   k = v: (1 · 0.25 · q_2 v_1, 2 · 0.25 · q_2 v_2) = (0.5, 2)
    #   gate: (0, 10 · 0.25 · up_2) = (0, 2.5) and (0, −1.25); the maximum of the second is 0, at token 1
    #   up: (0, 1 · 0.25 · 10) = (0, 2.5) and (0, −1.25)
    weighted = 0.5 * np.array([[2.5, 2.0, 2.0, 2.5, 0.0, 2.5, 0.0]])
    np.testing.assert_allclose(scores.moments.sum, weighted, rtol=1e-6)
    np.testing.assert_allclose(scores.moments.sum_of_squares, weighted**2, rtol=1e-6)
    np.testing.assert_array_equal(scores.moments.positive_count, [[1, 1, 1, 1, 0, 1, 0]])
    assert scores.moments.p_gold_sum[0] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("aggregator", "expected"),
    [
        ("sum", [2.5, 2.5, 2.5, 2.5, -1.25, 2.5, -1.25]),
        ("mean", [1.25, 1.25, 1.25, 1.25, -0.625, 1.25, -0.625]),
        ("last", [2.5, 2.0, 2.0, 2.5, -1.25, 2.5, -1.25]),
        ("absmax", [2.5, 2.0, 2.0, 2.5, -1.25, 2.5, -1.25]),
    ],
)
def test_other_aggregators_by_hand(monkeypatch, aggregator, expected):
    scores = score(monkeypatch, [[1, 2]], ["Spain"], aggregator=aggregator)
    np.testing.assert_allclose(scores.moments.sum, 0.5 * np.array([expected]), rtol=1e-6)


def test_control_items_are_clamped_at_zero_after_the_weighting(monkeypatch):
    # One token x = 2: m = 8, h = 0.05 · 64 − 3.2 = 0, P = 0.5, dP/dm = 0.25 · 0.8 = 0.2;
    # gate: 8 · 0.25 · (0.8, −0.4) = (1.6, −0.8); q, k, v: 2 · 0.2 · 4 = 1.6; up as gate.
    target = score(monkeypatch, [[2]], ["Spain"], bias=3.2)
    control = score(monkeypatch, [[2]], ["Spain"], bias=3.2, role="control")
    np.testing.assert_allclose(
        target.moments.sum, 0.5 * np.array([[1.6, 1.6, 1.6, 1.6, -0.8, 1.6, -0.8]]), rtol=1e-6
    )
    np.testing.assert_allclose(
        control.moments.sum, 0.5 * np.array([[1.6, 1.6, 1.6, 1.6, 0.0, 1.6, 0.0]]), rtol=1e-6
    )


@pytest.mark.parametrize("budget", [1, 3, 2048])
def test_padding_never_takes_part(monkeypatch, budget):
    """Beside a longer prompt the short one keeps its negative score: padding is no zero to fall back on."""
    scores = score(monkeypatch, [[1, 2, 3], [2]], ["China", "Spain"], bias=3.2, budget=budget)
    spain = scores.moments.cultures.index("Spain")
    np.testing.assert_allclose(
        scores.moments.sum[spain], 0.5 * np.array([1.6, 1.6, 1.6, 1.6, -0.8, 1.6, -0.8]), rtol=1e-6
    )


def test_cultures_are_summed_apart_and_divided_by_all_items(monkeypatch):
    scores = score(monkeypatch, [[1, 2], [1, 2], [2]], ["Spain", "Spain", "China"])
    gate = 3
    probability = 1 / (1 + math.exp(5 - 3.2))  # x = 2 under bias 5: h = 3.2 − 5
    china = probability * 8 * probability * (1 - probability) * 0.8
    np.testing.assert_allclose(scores.moments.sum[:, gate], [2 * 1.25, china], rtol=1e-6)
    np.testing.assert_array_equal(scores.moments.n_items, [2, 1])
    np.testing.assert_allclose(scores.moments.culture_scores[:, gate], [2.5 / 3, china / 3], rtol=1e-6)


def test_only_control_items_are_clamped(monkeypatch):
    """Exclusion items keep their negative scores, as target items do; the numbers are those above."""
    exclusion = score(monkeypatch, [[2]], ["Spain"], bias=3.2, role="exclusion")
    np.testing.assert_allclose(
        exclusion.moments.sum, 0.5 * np.array([[1.6, 1.6, 1.6, 1.6, -0.8, 1.6, -0.8]]), rtol=1e-6
    )
