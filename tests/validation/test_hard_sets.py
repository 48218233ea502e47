"""Which neurons the hard world plants."""

from __future__ import annotations

import numpy as np

from culnig.core.neurons import VALUE
from culnig.validation.decoder import HIDDEN, build_decoder
from culnig.validation.hard_items import make_hard_world
from culnig.validation.hard_sets import FORMAT, draw_sets, name_of
from culnig.validation.planting import SHARED
from culnig.validation.settings import PlantedSettings
from culnig.validation.worlds import WORLDS

SETTINGS = WORLDS["hard"].settings
N = SETTINGS.cultures
SETS = draw_sets(SETTINGS, HIDDEN)


def members(number):
    flat = [SETS.mlp[number].ravel(), SETS.value[number].ravel()]
    return set(np.flatnonzero(np.concatenate(flat)))


def test_at_most_one_percent_of_the_pool_is_planted():
    pool = SETTINGS.layers * (SETTINGS.mlp_width + 3 * HIDDEN)
    planted = set().union(*(members(number) for number in range(N + 1)))
    assert len(planted) <= 0.01 * pool
    assert all(len(members(number)) == SETTINGS.neurons_per_culture for number in range(N + 1))


def test_related_and_superposed_cultures_have_neurons_in_common_and_no_others():
    """8 neurons a set: two in common with the neighbour, one with a culture half the list away."""
    for first in range(N):
        for second in range(first):
            related, far = first // 2 == second // 2, abs(first - second) == N // 2
            assert len(members(first) & members(second)) == (2 if related else 1 if far else 0)


def test_decoys_are_nobodys_neurons():
    truth = set().union(*(members(number) for number in range(N + 1)))
    names = SETS.names
    assert names[N : N + 2] == (SHARED, FORMAT)
    assert names[N + 2] == name_of(names[0])
    for number in range(N + 1, len(names)):
        assert members(number)
        assert not truth & members(number)


def test_no_set_is_in_the_last_layer_and_what_all_build_on_is_in_the_lower_half():
    assert not SETS.mlp[:, -1].any()
    assert not SETS.value[:, -1].any()
    for number in (N, *range(N + 2, len(SETS.names))):
        assert not SETS.mlp[number, SETTINGS.layers // 2 :].any()


def test_a_neuron_of_several_sets_follows_the_items_own_culture():
    tables = SETS.governing(SETS.mlp, N)
    for culture in range(N):
        assert (tables[culture][SETS.mlp[culture]] == culture).all()
    assert (tables[:, ~SETS.mlp.any(axis=0)] == -1).all()
    common = SETS.mlp[0] & SETS.mlp[1]
    assert (tables[2][common] == 0).all()
    assert (tables[N][SETS.mlp[N + 1]] == N + 1).all()


def test_sets_name_gates_and_values():
    settings = PlantedSettings(cultures=3, questions=2, neurons_per_culture=8, layers=3, mlp_width=64)
    world = make_hard_world(settings)
    bound = build_decoder(settings, world.words)
    drawn = draw_sets(settings, HIDDEN)
    sets = drawn.sets(bound, 0)
    assert list(sets) == list(drawn.names)
    assert [neuron.module for neuron in sets[SHARED].neurons].count(VALUE) == 1
    for chosen in sets.values():
        assert len(chosen.flat(bound.layout)) == len(chosen.neurons)
