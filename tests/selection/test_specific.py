"""Culture-specific neurons, computed by hand: one layer of q 2, gate 6, up 1; four cultures."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from culnig.core.neurons import MLP_GATE, MLP_UP, QUERY
from culnig.errors import SelectionError, UnknownNameError
from culnig.selection.specific import SpecificSettings, select_specific
from culnig.selection.tables import SelectionTables
from tests.toy import CULTURES, moments, toy_layout

LAYOUT = toy_layout(1, {QUERY: 2, MLP_GATE: 6, MLP_UP: 1})
#                        q  q  gate gate gate gate gate gate up
DIFFERENCE = np.array([[ 6, 1, 8,   4,   4,   2,   0,   3,   99],   # China
                       [ 2, 1, 8,   0,   8,   2,   0,   1,   0],    # Iran
                       [ 2, 1, 8,   0,   4,   2,   0,   1,   0],    # Mexico
                       [ 2, 1, 8,   0,   0,   2,   4,   3,   0]],   # Spain
                      dtype=float)  # fmt: skip
# z of China: sqrt(3) for 0 and 3 (one culture off three alike), 0 for 1, 2 and 5 (all alike),
# 0 for 4 (the mean itself), -1/sqrt(3) for 6, 1 for 7
EVERYTHING = SpecificSettings(top=1, exclude=0, z=-10)


def tables(exclusion=None, difference=DIFFERENCE, cultures=CULTURES):
    return SelectionTables(LAYOUT, cultures, difference, exclusion, "toy", {"scores_hash": "0" * 64})


def flat(chosen):
    return chosen.flat(LAYOUT).tolist()


def test_one_pool_of_all_modules_but_up_proj_ranked_by_the_culture():
    chosen = select_specific(tables(), "China", EVERYTHING)
    assert flat(chosen) == [2, 0, 3, 4, 7, 5, 1, 6]
    assert chosen.scores.tolist() == [8, 6, 4, 4, 3, 2, 1, 0]
    assert MLP_UP not in {neuron.module for neuron in chosen.neurons}


@pytest.mark.parametrize(
    ("z", "kept"),
    [
        (0.5, [0, 3, 7]),
        (1.0, [0, 3, 7]),  # z = 1 is not below 1
        (1.01, [0, 3]),
        (1.73, [0, 3]),  # sqrt(3) = 1.732…
        (1.74, []),
        (0.0, [2, 0, 3, 4, 7, 5, 1]),  # no variance is z = 0
        (-0.57, [2, 0, 3, 4, 7, 5, 1]),
        (-0.58, [2, 0, 3, 4, 7, 5, 1, 6]),  # -1/sqrt(3) = -0.577…
    ],
)
def test_z_computed_by_hand_decides(z, kept):
    assert flat(select_specific(tables(), "China", SpecificSettings(1, 0, z))) == kept


def test_z_filters_after_the_cut_without_replacement():
    # half of 8: 2 0 3 4; z >= 0.5 leaves 0 and 3; 7 would pass z but was cut
    chosen = select_specific(tables(), "China", SpecificSettings(0.5, 0, 0.5))
    assert flat(chosen) == [0, 3]
    assert chosen.method["pools"]["all"] == {
        "neurons": 8,
        "before_exclusion": 4,
        "before_z": 4,
        "kept": 2,
    }


def test_a_margin_is_the_difference_from_the_mean_over_cultures():
    settings = SpecificSettings(1, 0, -10, rank_by="margin")
    chosen = select_specific(tables(), "China", settings)
    #         means 3 1 8 1 4 2 1 2 over the pool; China's less these: 3 0 0 3 0 0 -1 1
    assert flat(chosen) == [0, 3, 7, 1, 2, 4, 5, 6]
    assert chosen.scores.tolist() == [3, 3, 1, 0, 0, 0, 0, -1]
    assert chosen.method["rank_by"] == "margin"
    with pytest.raises(SelectionError, match="rank_by is 'mean'; allowed are difference, margin, shrunk"):
        select_specific(tables(), "China", replace(settings, rank_by="mean"))


def test_z_is_over_all_cultures_of_the_run():
    exclusion = moments(["China"], [1], [[0] * 9])
    assert flat(select_specific(tables(exclusion), "China", SpecificSettings(1, 0, 0.5))) == [0, 3, 7]


def test_exclusion_is_by_the_culture_itself_and_within_the_pool():
    exclusion = moments(
        ["Iran", "China"],
        [1, 1],
        [[0, 0, 0, 90, 0, 0, 0, 0, 0], [9, 0, 8, 0, 0, 0, 0, 0, 99]],
    )
    # a quarter of 8 by China's own scores: 0 and 2, not Iran's 3 and not up_proj's 8
    chosen = select_specific(tables(exclusion), "China", SpecificSettings(0.5, 0.25, 0.5))
    assert flat(chosen) == [3]
    assert chosen.method["pools"]["all"]["before_exclusion"] == 4
    assert chosen.method["pools"]["all"]["before_z"] == 2


def test_another_culture_gets_other_neurons():
    assert flat(select_specific(tables(), "Iran", SpecificSettings(1, 0, 0.5))) == [4]
    assert flat(select_specific(tables(), "Spain", SpecificSettings(1, 0, 0.5))) == [6, 7]


def test_the_defaults_are_the_papers():
    assert SpecificSettings() == SpecificSettings(top=0.003, exclude=0.01, z=0.5)


def test_the_set_says_for_which_culture_and_how():
    chosen = select_specific(tables(), "China", SpecificSettings(0.5, 0, 0.5))
    assert chosen.name == "specific China"
    assert {key: chosen.method[key] for key in ("name", "culture", "top", "exclude", "z")} == {
        "name": "specific",
        "culture": "China",
        "top": 0.5,
        "exclude": 0,
        "z": 0.5,
    }


def test_a_cut_that_keeps_nothing_is_an_empty_set():
    assert select_specific(tables(), "China").neurons == ()


def test_an_unknown_culture_lists_the_cultures_of_the_run():
    with pytest.raises(UnknownNameError, match=r"'Chnia'.*did you mean 'China'.*China, Iran, Mexico, Spain"):
        select_specific(tables(), "Chnia")


def test_two_cultures_are_too_few_for_z():
    with pytest.raises(SelectionError, match="at least 3 cultures, but this run has 2"):
        select_specific(tables(difference=DIFFERENCE[:2], cultures=CULTURES[:2]), "China")


def test_a_culture_that_the_exclusion_lacks_is_refused_with_advice():
    found = tables(moments(["Iran"], [1], [[0] * 9]))
    with pytest.raises(
        SelectionError, match=r"no items of 'China', only of Iran; .*exclusion=False or exclude=0"
    ):
        select_specific(found, "China")
    assert flat(select_specific(replace(found, exclusion=None), "China", EVERYTHING))[0] == 2


@pytest.mark.parametrize("name", ["top", "exclude"])
def test_an_invalid_fraction_is_refused_by_name(name):
    with pytest.raises(SelectionError, match=f"{name} is -0.1"):
        select_specific(tables(), "China", SpecificSettings(**{name: -0.1}))
