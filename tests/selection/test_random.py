from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from culnig.core.neurons import MLP_GATE, MLP_UP
from culnig.errors import InputError, MismatchError, SelectionError
from culnig.selection.random import select_random
from tests.toy import neuron_set, toy_layout

LAYOUT = toy_layout()
SOME = neuron_set(LAYOUT, [8, 0, 36, 37, 64, 5])
HALF_OF_EACH = [place for s in LAYOUT.segments for place in range(s.start, s.start + s.width // 2)]


@given(st.lists(st.sampled_from(HALF_OF_EACH), unique=True), st.integers(0, 2**32))
def test_equally_many_per_module_and_layer_and_none_of_the_set(flat, seed):
    like = neuron_set(LAYOUT, flat)
    drawn = select_random(like, LAYOUT, seed)
    assert drawn.count_by_module_and_layer() == like.count_by_module_and_layer()
    assert not set(drawn.neurons) & set(like.neurons)
    assert len(set(drawn.neurons)) == len(flat)


@given(st.lists(st.sampled_from(LAYOUT.pool("all")[:27].tolist()), unique=True), st.integers(0, 99))
def test_total_matches_the_number_alone_and_stays_in_the_pool(flat, seed):
    like = neuron_set(LAYOUT, flat)
    drawn = select_random(like, LAYOUT, seed, "total")
    assert len(set(drawn.neurons)) == len(flat)
    assert not set(drawn.neurons) & set(like.neurons)
    assert MLP_UP not in {neuron.module for neuron in drawn.neurons}


@pytest.mark.parametrize("match", ["module", "total"])
def test_a_seed_is_a_set_and_another_seed_another(match):
    first = select_random(SOME, LAYOUT, 0, match)
    assert select_random(SOME, LAYOUT, 0, match).neurons == first.neurons
    assert len({select_random(SOME, LAYOUT, seed, match).neurons for seed in range(10)}) == 10


def test_the_order_of_the_set_does_not_matter():
    turned = neuron_set(LAYOUT, SOME.flat(LAYOUT)[::-1].tolist())
    assert select_random(turned, LAYOUT, 3).neurons == select_random(SOME, LAYOUT, 3).neurons


def test_every_free_neuron_is_drawn_equally_often():
    like = neuron_set(LAYOUT, [LAYOUT.segment(MLP_GATE, 0).start])
    drawn = Counter(select_random(like, LAYOUT, seed).neurons[0].index for seed in range(1800))
    assert set(drawn) == set(range(1, 10))
    assert max(abs(count - 200) for count in drawn.values()) < 60  # four standard deviations


def test_neurons_come_in_flat_order_with_no_scores():
    drawn = select_random(SOME, LAYOUT, 0)
    assert np.all(np.diff(drawn.flat(LAYOUT)) > 0)
    assert drawn.scores.tolist() == [0.0] * 6


def test_the_set_records_the_set_that_it_is_a_baseline_of():
    drawn = select_random(SOME, LAYOUT, 4, "total")
    assert drawn.name == "random 4"
    assert drawn.method == {"name": "random", "seed": 4, "match": "total", "like": SOME.method}
    assert drawn.sources == SOME.sources


def test_a_module_with_too_few_others_is_named():
    whole = LAYOUT.segment(MLP_GATE, 1)
    like = neuron_set(LAYOUT, range(whole.start, whole.start + 6))
    with pytest.raises(SelectionError, match=r"mlp\.gate_proj, layer 1: 6 .* only 4 are outside"):
        select_random(like, LAYOUT, 0)
    assert len(select_random(like, LAYOUT, 0, "total").neurons) == 6


def test_a_pool_with_too_few_others_is_named():
    like = neuron_set(LAYOUT, LAYOUT.pool("all")[:28].tolist())
    with pytest.raises(SelectionError, match=r"pool .*28 .* only 26 are outside"):
        select_random(like, LAYOUT, 0, "total")


def test_an_empty_set_has_an_empty_baseline():
    for match in ("module", "total"):
        assert select_random(neuron_set(LAYOUT, []), LAYOUT, 0, match).neurons == ()


def test_an_unknown_match_is_refused():
    with pytest.raises(InputError, match="'layer'; choose from module, total"):
        select_random(SOME, LAYOUT, 0, "layer")


def test_a_set_of_another_model_is_refused():
    with pytest.raises(MismatchError, match="toy set"):
        select_random(SOME, toy_layout(n_layers=4), 0)
