"""Neurons that answer to every item are found again; noise is not, and is told apart by chance."""

from __future__ import annotations

import numpy as np
import pytest

from culnig.errors import SelectionError
from culnig.selection.general import GeneralSettings, select_general
from culnig.selection.resampling import bootstrap, leave_out, resampled_tables, split_halves, whole
from culnig.selection.stability import agreement, bootstrapped, left_out, split_half, with_stability
from tests.selection.item_arrays import LAYOUT, STRONG, item_tables
from tests.toy import neuron_set

SETTINGS = GeneralSettings(top_mlp=0.05, top_attention=0.05, exclude=0)  # 20 of 400, 4 of 80


def select(tables):
    return select_general(tables, SETTINGS)


def chosen_from(items):
    (table,) = resampled_tables(items, [whole(items)])
    return select(table)


def halves_of(items, n):
    tables = resampled_tables(items, [half for pair in split_halves(items, n) for half in pair])
    return zip(tables, tables, strict=True)


def test_strong_neurons_are_always_selected_and_noise_is_not():
    items = item_tables()
    chosen = chosen_from(items)
    again, frequency = bootstrapped(resampled_tables(items, bootstrap(items, 30)), chosen, select)
    strong = np.isin(chosen.flat(LAYOUT), STRONG)
    assert strong.sum() == 10
    assert (frequency[strong] == 1).all()
    assert frequency[~strong].max() < 0.95
    assert again.n_pairs == 30
    assert again.lowest <= again.jaccard <= again.highest


def test_halves_of_noise_agree_as_much_as_chance_says():
    noise = item_tables(effect=0.0)
    found = split_half(halves_of(noise, 60), select)
    # 20·20/400 + 4·4/80 = 1.2 neurons shared of 24 + 24
    assert found.by_chance == pytest.approx(1.2 / (48 - 1.2))
    assert found.jaccard == pytest.approx(found.by_chance, abs=0.02)
    strong = split_half(halves_of(item_tables(), 10), select)
    assert strong.by_chance == pytest.approx(found.by_chance)
    assert strong.jaccard > 10 / 38 - 1e-9  # ten of 24 are shared at least


def test_a_group_left_out_changes_little():
    items = item_tables()
    questions = np.array([unit.split("\n")[1] for unit in items.target.unit], dtype=object)
    draws = [draw for _, draw in leave_out(items, {"target": questions, "control": questions})]
    found = left_out("question", resampled_tables(items, draws), chosen_from(items), select)
    assert found.n_pairs == 12
    assert found.kind == "leave one question out"
    assert found.jaccard > 0.6


def test_frequency_and_jaccard_by_hand():
    chosen = neuron_set(LAYOUT, [40, 41, 42, 43])
    later = {1: [40, 41, 42, 43], 2: [40, 41], 3: [40, 60], 4: [70, 71]}
    found, frequency = bootstrapped(later, chosen, lambda number: neuron_set(LAYOUT, later[number]))
    assert frequency.tolist() == [3 / 4, 2 / 4, 1 / 4, 1 / 4]
    assert found.jaccard == pytest.approx((1 + 2 / 4 + 1 / 5 + 0) / 4)
    assert (found.lowest, found.highest, found.by_chance) == (0, 1, None)


def test_only_stable_neurons_are_kept_by_the_rule():
    chosen, frequency = neuron_set(LAYOUT, [40, 41, 42]), np.array([1.0, 0.8, 0.79])
    again = agreement("bootstrap", [(chosen, chosen)])
    told = with_stability(chosen, [again], frequency)
    assert told.neurons == chosen.neurons
    assert told.columns["frequency"].tolist() == frequency.tolist()
    assert told.method["stability"]["selected_stable"] == 2
    assert told.method["stability"]["agreement"][0]["jaccard"] == 1
    kept = with_stability(chosen, [again], frequency, level=0.8, rule=True)
    assert kept.flat(LAYOUT).tolist() == [40, 41]
    assert kept.columns["frequency"].tolist() == [1.0, 0.8]


@pytest.mark.parametrize("level", [0, -1, 1.1, float("nan")])
def test_an_invalid_level_is_refused(level):
    with pytest.raises(SelectionError, match="is not a share of the resamples"):
        with_stability(neuron_set(LAYOUT, [40]), [], np.ones(1), level=level)


def test_no_resample_is_an_error():
    with pytest.raises(SelectionError, match="no resample was drawn"):
        bootstrapped([], neuron_set(LAYOUT, [40]), select)
