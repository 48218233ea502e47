"""Bounds on the effects of neurons that were not selected."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from culnig.errors import InputError
from culnig.verification.missed import (
    MOST_ZEROED,
    STRATA,
    bound_missed,
    draw_strata,
    most_unseen,
    tail_factor,
)


def planted_world(generator, n_neurons=1500, n_items=32, n_answers=8):
    """Exact effects and scores of all neurons of a gated layer below a softmax; some write the gold answers.

    Zeroing a neuron takes its own part from the logits, so all effects are computed at once. The score is the
    mean over items of P · |activation · gradient|, the first-order estimate without its sign.
    """
    inputs = generator.normal(size=(n_items, 24))
    gate, up = (inputs @ generator.normal(size=(24, n_neurons)) / np.sqrt(24) for _ in range(2))
    activation = gate / (1 + np.exp(-gate)) * up
    spread = np.exp(generator.uniform(0, 1) * generator.normal(size=(n_neurons, 1)))
    writes = 0.02 * spread * generator.normal(size=(n_neurons, n_answers))
    gold = generator.integers(0, n_answers, n_items)
    for neuron in generator.choice(n_neurons, 20, replace=False):
        known = generator.choice(n_items, generator.integers(1, 8), replace=False)
        activation[known, neuron] = generator.uniform(1, 3)
        writes[neuron] = 0
        writes[neuron, gold[known]] = generator.uniform(0.1, 0.6)
    logits = activation @ writes
    items = np.arange(n_items)
    probability = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    p_gold = probability[items, gold]
    effect, score = np.empty(n_neurons), np.empty(n_neurons)
    for block in np.array_split(np.arange(n_neurons), 10):
        own = activation[:, block, None] * writes[block]
        without = np.exp(logits[:, None] - own)
        changed = without[items, :, gold] / without.sum(-1)
        effect[block] = (p_gold[:, None] * (p_gold[:, None] - changed)).mean(0)
        gradient = p_gold[:, None] * (writes[block][:, gold].T - probability @ writes[block].T)
        score[block] = (p_gold[:, None] * np.abs(activation[:, block] * gradient)).mean(0)
    return effect, score


def bound_of(effect, score, seed):
    return bound_missed([(n, effect[chosen]) for n, chosen in draw_strata(score, seed)])


def test_the_bound_holds_in_planted_worlds():
    """80 worlds, half of them with scores that are off by a factor of e on average."""
    generator = np.random.default_rng(0)
    ratios, above = [], []
    for number in range(80):
        effect, score = planted_world(generator)
        score *= np.exp(number % 2 * generator.normal(size=len(score)))
        rest = np.argsort(-score)[20:]
        missed = bound_of(effect[rest], score[rest], number)
        assert missed.n_zeroed == MOST_ZEROED
        ratios.append(missed.bound / np.abs(effect[rest]).max())
        above.append((np.abs(effect[rest]) > missed.largest).sum() <= missed.n_above)
    assert np.mean(np.array(ratios) >= 1) >= 0.95
    assert np.mean(above) >= 0.95
    assert np.median(ratios) < 5  # a bound, not a platitude


@pytest.mark.parametrize("power", [0.5, 1, 3])
def test_the_bound_holds_for_tails_up_to_the_assumed_one(power):
    """Effects like |exponential|^power: a power of 3 is the assumed tail itself, others are lighter."""
    generator = np.random.default_rng(1)
    size = np.exp(-np.linspace(0, 6, 3000))
    n_held = 0
    for seed in range(200):
        effect = size * generator.exponential(size=len(size)) ** power
        n_held += bound_of(effect, size, seed).bound >= effect.max()
    assert n_held >= 190


def test_the_factor_covers_as_often_as_it_says():
    """Exponential values with an unknown mean: the next 500 stay below the bound in 90 % of 4,000 draws."""
    generator = np.random.default_rng(2)
    factor = tail_factor(500, 40, 10, 0.1)
    values = 3.7 * generator.exponential(size=(4000, 540))
    sample = -np.sort(-values[:, :40])
    threshold = sample[:, 10]
    bound = threshold + factor * (sample[:, :10].mean(1) - threshold)
    assert (values[:, 40:].max(1) <= bound).mean() == pytest.approx(0.9, abs=0.015)


def test_few_neurons_are_all_zeroed():
    effect = np.array([0.1, -0.7, 0.3])
    ((n_neurons, chosen),) = draw_strata(np.array([1.0, 3.0, 2.0]), 0)
    assert (n_neurons, chosen.tolist()) == (3, [1, 2, 0])
    missed = bound_missed([(3, effect)])
    assert (missed.bound, missed.largest, missed.n_above) == (0.7, 0.7, 0)


def test_strata_grow_and_hold_every_neuron_once():
    score = np.random.default_rng(3).normal(size=5000)
    strata = draw_strata(score, 0)
    sizes = [n for n, _ in strata]
    assert (len(sizes), sum(sizes), sizes[0]) == (STRATA, 5000, MOST_ZEROED // STRATA)
    ratios = np.array(sizes[1:]) / sizes[:-1]
    assert ratios == pytest.approx(ratios[0], rel=0.02)
    ranked = np.argsort(-score)
    assert set(strata[0][1]) == set(ranked[:40])
    last = np.flatnonzero(np.isin(ranked, strata[-1][1]))
    assert (len(last), last.min() >= 5000 - sizes[-1]) == (40, True)
    assert [chosen.tolist() for _, chosen in draw_strata(score, 0)] == [
        chosen.tolist() for _, chosen in strata
    ]
    assert draw_strata(score, 1)[-1][1].tolist() != strata[-1][1].tolist()


def test_neurons_without_any_effect_give_no_bound():
    effects = np.zeros(40)
    effects[:3] = 0.1, 0.2, 0.3
    missed = bound_missed([(40, np.ones(40)), (1000, effects)])
    assert missed.bound is None
    assert missed.strata[0].bound == 1


def test_the_unseen_are_counted_by_hand():
    """8 neurons, 3 drawn: the two largest are both missed in C(6, 3) of C(8, 3) draws, three in C(5, 3)."""
    draws = list(combinations(range(8), 3))
    share = [np.mean([not set(draw) & set(range(k)) for draw in draws]) for k in range(6)]
    assert share[2] == 20 / 56
    for alpha in (0.01, 0.1, 0.2, 0.5):
        assert most_unseen(8, 3, alpha) == max(k for k in range(6) if share[k] > alpha)


def test_nothing_left_to_miss():
    with pytest.raises(InputError, match="every neuron of these modules is selected"):
        draw_strata(np.empty(0), 0)
