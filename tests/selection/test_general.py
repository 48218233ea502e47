"""Culture-general neurons, computed by hand.

Two layers of query 2, key 1, value 1, gate 4, up 2: 20 neurons. Flat positions:

    layer 0   q 0 1   k 2   v 3   gate 4 5 6 7       up 8 9
    layer 1   q 10 11 k 12  v 13  gate 14 15 16 17   up 18 19
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from culnig.core.neurons import KEY, MLP_GATE, MLP_UP, QUERY, VALUE, Neuron
from culnig.errors import SelectionError
from culnig.selection.general import GeneralSettings, select_general
from culnig.selection.neuron_set import read_neuron_set
from culnig.selection.tables import selection_tables
from tests.toy import moments, toy_layout, write_run, write_toy_run

LAYOUT = toy_layout(2, {QUERY: 2, KEY: 1, VALUE: 1, MLP_GATE: 4, MLP_UP: 2})

# Two items of China and two of Iran in the target, one of each in the control, one of China in the exclusion.
# Σw over items; the score is Σw / 4 in the target, Σw / 2 in the control.
#        q  q  k  v  gate gate gate gate up  up   q  q  k  v  gate gate gate gate up  up
CHINA = [8, 4, 0, 0, 16,  0,   8,   4,   99, 99,  4, 0, 0, 4, 12,  2,   0,   0,   99, 99]  # fmt: skip
IRAN =  [0, 4, 0, 8, 16,  0,   8,   4,   99, 99,  4, 0, 0, 4, 12,  2,   0,   4,   99, 99]  # fmt: skip
CONTROL_CHINA = [0, 0, 0, 2, 8, 0, 0, 2, 0, 0,    0, 0, 1, 1, 2, 0, 0, 0, 0, 0]  # fmt: skip
CONTROL_IRAN =  [2, 0, 0, 0, 6, 0, 0, 2, 0, 0,    0, 0, 1, 1, 2, 0, 0, 0, 0, 0]  # fmt: skip
EXCLUSION =     [0, 0, 0, 0, 0, 0, 9, 0, 50, 50,  7, 0, 0, 8, 5, 0, 0, 0, 50, 50]  # fmt: skip

# (CHINA + IRAN) / 4 - (CONTROL_CHINA + CONTROL_IRAN) / 2
DIFFERENCE = [1, 2, 0, 1, 1, 0, 4, 0, 49.5, 49.5, 2, 0, -1, 1, 4, 1, 0, 1, 49.5, 49.5]


def toy_run(folder):
    return write_run(
        folder,
        LAYOUT,
        {
            "t": ("target", moments(["China", "Iran"], [2, 2], [CHINA, IRAN])),
            "c": ("control", moments(["Iran", "China"], [1, 1], [CONTROL_IRAN, CONTROL_CHINA])),
            "x": ("exclusion", moments(["China"], [1], [EXCLUSION])),
        },
    )


@pytest.fixture
def tables(tmp_path):
    return selection_tables(toy_run(tmp_path / "run"))


def flat(chosen):
    return chosen.flat(LAYOUT).tolist()


def test_the_difference_equals_a_hand_computed_one(tables):
    assert tables.difference.sum(axis=0).tolist() == DIFFERENCE


def test_each_pool_is_cut_by_itself(tables):
    # mlp: half of 8 by difference 1 0 4 0 | 4 1 0 1 -> 6, 14, then the tie 4 15 17 goes to 4, 15
    # attention: three eighths of 8 by 1 2 0 1 | 2 0 -1 1 -> 1, 10, then the tie 0 3 13 goes to 0
    chosen = select_general(tables, GeneralSettings(top_mlp=0.5, top_attention=0.375, exclude=0))
    assert flat(chosen) == [6, 14, 1, 10, 0, 4, 15]
    assert chosen.scores.tolist() == [4, 4, 2, 2, 1, 1, 1]
    assert chosen.neurons[0] == Neuron(MLP_GATE, 0, 2)


def test_exclusion_comes_after_the_cut_and_leaves_a_gap(tables):
    # a quarter of each pool by exclusion: mlp 6 (9), 14 (5); attention 13 (8), 10 (7)
    chosen = select_general(tables, GeneralSettings(top_mlp=0.5, top_attention=0.375, exclude=0.25))
    assert flat(chosen) == [1, 0, 4, 15]
    assert chosen.method["pools"] == {
        "mlp": {"neurons": 8, "before_exclusion": 4, "kept": 2},
        "attention": {"neurons": 8, "before_exclusion": 3, "kept": 2},
    }


def test_exclusion_takes_its_share_of_each_pool(tables):
    # an eighth of each: 6 and 13; up_proj with its 50 takes no part of either share
    chosen = select_general(tables, GeneralSettings(top_mlp=1, top_attention=1, exclude=0.125))
    assert set(range(20)) - set(flat(chosen)) == {6, 13, 8, 9, 18, 19}


def test_without_an_exclusion_nothing_is_removed(tables):
    settings = GeneralSettings(top_mlp=0.5, top_attention=0.375, exclude=0.25)
    assert len(flat(select_general(replace(tables, exclusion=None), settings))) == 7


def test_up_proj_is_never_selected_however_high_it_scores(tables):
    chosen = select_general(tables, GeneralSettings(top_mlp=1, top_attention=1, exclude=0))
    assert len(chosen.neurons) == 16
    assert MLP_UP not in {neuron.module for neuron in chosen.neurons}


def test_the_exclusion_sums_its_cultures(tables):
    # 14 has 5 for China alone; with 5 more for Iran it passes 6, which has 9
    both = moments(["China", "Iran"], [1, 1], [EXCLUSION, [0] * 14 + [5] + [0] * 5])
    settings = GeneralSettings(top_mlp=0.25, top_attention=0, exclude=0.125)
    assert flat(select_general(tables, settings)) == [14]
    assert flat(select_general(replace(tables, exclusion=both), settings)) == [6]


def test_the_defaults_are_the_papers():
    assert GeneralSettings() == GeneralSettings(top_mlp=0.01, top_attention=0.002, exclude=0.01)


def test_fractions_that_give_no_neuron_give_an_empty_set(tables):
    chosen = select_general(tables)
    assert chosen.neurons == ()
    assert chosen.scores.shape == (0,)


@pytest.mark.parametrize("name", ["top_mlp", "top_attention", "exclude"])
def test_an_invalid_fraction_is_refused_by_name(tables, name):
    with pytest.raises(SelectionError, match=f"{name} is 1.5"):
        select_general(tables, GeneralSettings(**{name: 1.5}))


def test_the_set_says_where_it_comes_from(tables, tmp_path):
    chosen = select_general(tables)
    assert chosen.model == "toy"
    assert chosen.layout_hash == LAYOUT.hash
    (source,) = chosen.sources
    assert source["benchmarks"] == {"target": "t", "control": "c", "exclusion": "x"}
    assert source["n_items"] == {"target": 4, "control": 2, "exclusion": 1}
    assert len(source["scores_hash"]) == 64
    assert str(tmp_path) not in str(chosen)


def test_selecting_twice_gives_identical_bytes_for_any_path_of_the_run(tmp_path):
    files = []
    for place in ("here", "there"):
        run = write_toy_run(tmp_path / place / "run")
        file = tmp_path / place / "general.neurons.json"
        select_general(selection_tables(run), GeneralSettings(0.3, 0.2, 0.1)).write(file)
        files.append(file.read_bytes())
    assert files[0] == files[1]
    assert len(read_neuron_set(tmp_path / "here" / "general.neurons.json").neurons) > 5


def test_the_rank_order_is_by_score_over_both_pools(tmp_path):
    tables = selection_tables(write_toy_run(tmp_path / "run"), use_exclusion=False)
    chosen = select_general(tables, GeneralSettings(0.5, 0.5))
    assert np.all(np.diff(chosen.scores) <= 0)
    assert chosen.scores.tolist() == tables.totals.difference[chosen.flat(tables.layout)].tolist()
    np.testing.assert_allclose(tables.totals.difference, tables.difference.sum(axis=0), atol=1e-15)
    assert len(chosen.neurons) == 15 + 12
