from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from culnig.core.neurons import MLP_UP
from culnig.errors import InputError, MismatchError
from culnig.evaluation.conditions import UNMASKED, best_share, make_conditions
from tests.toy import neuron_set, toy_layout

LAYOUT = toy_layout()
GENERAL = neuron_set(LAYOUT, [8, 0, 36, 37, 64], name="general")
CHINA = neuron_set(LAYOUT, [9, 4], name="specific China")


def test_without_sets_there_is_only_the_unmasked_model():
    (unmasked,) = make_conditions([], LAYOUT)
    assert (unmasked.name, unmasked.factor, unmasked.flat.size, unmasked.like) == (UNMASKED, 1.0, 0, None)


def test_each_set_is_followed_by_its_baselines():
    conditions = make_conditions([GENERAL, CHINA], LAYOUT, n_random=2)
    assert [(condition.name, condition.like) for condition in conditions] == [
        ("unmasked", None),
        ("general", None),
        ("random 0 like general", "general"),
        ("random 1 like general", "general"),
        ("specific China", None),
        ("random 0 like specific China", "specific China"),
        ("random 1 like specific China", "specific China"),
    ]


@pytest.mark.parametrize("factor", [0.0, 2.0, 0.5, -1.0])
def test_the_baselines_are_scaled_like_their_set(factor):
    conditions = make_conditions([GENERAL], LAYOUT, factor=factor, n_random=3)
    assert [condition.factor for condition in conditions] == [1.0] + [factor] * 4


def test_the_neurons_are_those_of_the_set():
    conditions = make_conditions([GENERAL, CHINA], LAYOUT)
    assert conditions[1].flat.tolist() == [8, 0, 36, 37, 64]
    assert conditions[2].flat.tolist() == [9, 4]


def test_baselines_match_module_and_layer_by_default():
    _, _, *random = make_conditions([GENERAL], LAYOUT, n_random=5)
    for baseline in random:
        assert np.array_equal(
            np.sort(LAYOUT.segment_of(baseline.flat)), np.sort(LAYOUT.segment_of(GENERAL.flat(LAYOUT)))
        )
        assert not set(baseline.flat) & set(GENERAL.flat(LAYOUT))
    assert len({tuple(baseline.flat) for baseline in random}) == 5


def test_baselines_can_match_the_total_alone():
    _, _, *random = make_conditions([GENERAL], LAYOUT, n_random=5, match="total")
    modules = {neuron.module for baseline in random for neuron in LAYOUT.neurons(baseline.flat)}
    assert {len(set(baseline.flat)) for baseline in random} == {5}
    assert MLP_UP not in modules
    assert any(
        not np.array_equal(
            np.sort(LAYOUT.segment_of(baseline.flat)), np.sort(LAYOUT.segment_of(GENERAL.flat(LAYOUT)))
        )
        for baseline in random
    )


def test_the_same_call_draws_the_same_baselines():
    first, second = (make_conditions([GENERAL], LAYOUT, n_random=2) for _ in range(2))
    assert [c.flat.tolist() for c in first] == [c.flat.tolist() for c in second]


def test_two_sets_of_one_name_are_refused():
    with pytest.raises(InputError, match="two neuron sets are named 'general'"):
        make_conditions([GENERAL, GENERAL], LAYOUT)


def test_a_set_may_not_take_the_name_of_the_unmasked_model():
    with pytest.raises(InputError, match="named 'unmasked'"):
        make_conditions([neuron_set(LAYOUT, [1], name="unmasked")], LAYOUT)


def test_a_set_may_not_take_the_name_of_a_baseline():
    false_friend = neuron_set(LAYOUT, [1], name="random 0 like general")
    with pytest.raises(InputError, match="random 0 like general"):
        make_conditions([false_friend, GENERAL], LAYOUT, n_random=1)


def test_an_empty_set_is_refused():
    with pytest.raises(InputError, match="'nothing' is empty; select with larger fractions"):
        make_conditions([neuron_set(LAYOUT, [], name="nothing")], LAYOUT)


def test_a_set_of_another_model_is_refused():
    with pytest.raises(MismatchError, match="general"):
        make_conditions([GENERAL], toy_layout(n_layers=4))


# doses


def test_doses_are_all_pairs_of_shares_and_factors_without_the_unmasked_model():
    conditions = make_conditions([GENERAL], LAYOUT, factor=(0.0, 1.0, 2.0), shares=(1.0, 0.5), n_random=1)
    assert [(c.name, c.factor, c.share, c.like) for c in conditions[1:]] == [
        ("general ×0", 0.0, 1.0, None),
        ("random 0 like general ×0", 0.0, 1.0, "general ×0"),
        ("general ×2", 2.0, 1.0, None),
        ("random 0 like general ×2", 2.0, 1.0, "general ×2"),
        ("general best 50 % ×0", 0.0, 0.5, None),
        ("random 0 like general best 50 % ×0", 0.0, 0.5, "general best 50 % ×0"),
        ("general best 50 % ×2", 2.0, 0.5, None),
        ("random 0 like general best 50 % ×2", 2.0, 0.5, "general best 50 % ×2"),
    ]
    assert {c.of_set for c in conditions[1:]} == {"general"}


def test_a_baseline_of_a_part_has_the_size_of_the_part():
    conditions = make_conditions([GENERAL], LAYOUT, shares=(0.5, 1.0), n_random=1)
    sizes = {c.name: len(c.flat) for c in conditions}
    assert sizes["random 0 like general best 50 % ×0"] == sizes["general best 50 % ×0"] < 5
    assert sizes["random 0 like general ×0"] == 5


def test_parts_of_a_set_can_be_replaced():
    conditions = make_conditions([GENERAL], LAYOUT, shares=(1.0, 0.5), mask="mean")
    assert [c.name for c in conditions[1:]] == ["general (mean)", "general best 50 % (mean)"]


def test_the_best_of_each_pool_are_kept_in_their_order():
    # in a layer of 28: q 0-3, k 4-5, v 6-7, gate 8-17, up 18-27
    chosen = neuron_set(LAYOUT, [8, 9, 36, 37, 0, 4], name="mixed")
    assert best_share(chosen, 0.5).flat(LAYOUT).tolist() == [8, 9, 0]
    assert best_share(chosen, 0.01).flat(LAYOUT).tolist() == [8, 0]
    assert best_share(chosen, 1.0) is chosen
    assert best_share(chosen, 0.5).scores.tolist() == [6 / 8, 5 / 8, 2 / 8]


@pytest.mark.parametrize("share", [0.0, -0.1, 1.5, float("nan")])
def test_a_share_outside_of_the_set_is_refused(share):
    with pytest.raises(InputError, match="not within"):
        make_conditions([GENERAL], LAYOUT, shares=(share,))


def test_a_set_knows_the_culture_of_its_method_and_its_baselines_none():
    china = replace(CHINA, method={"name": "specific", "culture": "China"})
    _, own, random = make_conditions([china], LAYOUT, n_random=1)
    assert (own.culture, random.culture) == ("China", None)
