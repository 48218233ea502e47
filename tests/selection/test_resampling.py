from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from culnig.errors import SelectionError
from culnig.selection.resampling import (
    ItemTables,
    bootstrap,
    leave_out,
    resampled_tables,
    split_halves,
    whole,
)
from tests.selection.item_arrays import LAYOUT, item_tables, table_of
from tests.toy import CULTURES

ITEMS = item_tables()
ALL = slice(None)


def one_table(items, draw):
    (table,) = resampled_tables(items, [draw])
    return table


def by_hand(items, draw):
    """target − control of each culture, from items repeated as often as they are drawn."""
    rows = []
    for culture in CULTURES:
        sides = []
        for role in ("target", "control"):
            table, times = items.roles[role], draw[role].astype(int)
            repeated = np.repeat(table.scores(ALL), times, axis=0)
            own = np.repeat(table.culture, times) == culture
            sides.append(repeated[own].sum(axis=0) / len(repeated))
        rows.append(sides[0] - sides[1])
    return np.array(rows)


def test_every_item_once_is_the_table_of_the_run():
    table = one_table(ITEMS, whole(ITEMS))
    np.testing.assert_allclose(table.difference, by_hand(ITEMS, whole(ITEMS)), atol=1e-14)
    assert table.cultures == CULTURES


@pytest.mark.parametrize("seed", range(3))
def test_a_bootstrap_table_is_that_of_the_items_drawn(seed):
    for draw in bootstrap(ITEMS, 2, seed):
        np.testing.assert_allclose(one_table(ITEMS, draw).difference, by_hand(ITEMS, draw), atol=1e-14)


def test_units_are_drawn_whole_within_each_culture_and_controls_follow():
    draws = list(bootstrap(ITEMS, 20, 1))
    for draw in draws:
        weights = draw["target"].reshape(len(CULTURES), 12, 2)
        assert (weights[..., 0] == weights[..., 1]).all()
        assert (weights[..., 0].sum(axis=1) == 12).all()
        assert (draw["control"] == draw["target"]).all()
    assert any((draw["exclusion"] != draw["target"]).any() for draw in draws)
    assert np.mean([draw["target"] for draw in draws]) == 1
    assert np.mean([draw["target"] == 0 for draw in draws]) == pytest.approx(np.exp(-1), abs=0.03)


def shared_items(cultures, questions, seed=0):
    """Target and control of (culture, question) pairs, one item each, scores all equal."""
    ones = np.ones((len(cultures), LAYOUT.n_neurons))
    return ItemTables(LAYOUT, table_of(cultures, questions, ones), table_of(cultures, questions, ones), None)


SHARED = shared_items(np.tile(["x", "y", "z"], 10), np.repeat([f"q{n}" for n in range(10)], 3))


def test_a_question_is_drawn_with_all_its_cultures():
    drawn = [draw["target"].reshape(10, 3) for draw in bootstrap(SHARED, 30)]
    for weights in drawn:
        assert (weights == weights[:, :1]).all()
        assert weights[:, 0].sum() == 10
    assert len({tuple(weights[:, 0]) for weights in drawn}) > 25
    for first, second in split_halves(SHARED, 10):
        weights = first["target"].reshape(10, 3)
        assert (weights == weights[:, :1]).all()
        assert weights[:, 0].sum() == 5
        assert (second["control"] == 1 - first["target"]).all()


def test_a_culture_with_few_of_the_shared_questions_is_in_every_draw():
    # z was asked two of ten questions
    kept = [n for n in range(30) if n % 3 < 2 or n // 3 < 2]
    some = shared_items(SHARED.target.culture[kept], SHARED.target.unit[kept])
    of_z = some.target.culture == "z"
    assert all(draw["target"][of_z].sum() > 0 for draw in bootstrap(some, 40))
    assert all(first["target"][of_z].sum() == 1 for first, _ in split_halves(some, 20))


def test_the_same_seed_draws_the_same():
    first, again, other = (next(iter(bootstrap(ITEMS, 1, seed)))["target"] for seed in (5, 5, 6))
    assert first.tolist() == again.tolist() != other.tolist()


def test_halves_are_complements_of_equal_size():
    for first, second in split_halves(ITEMS, 5):
        for role in ("target", "control", "exclusion"):
            assert (first[role] + second[role] == 1).all()
            assert (
                first[role].reshape(len(CULTURES), -1).sum(axis=1) == 12
            ).all()  # 6 of 12 questions, 2 each
        assert (first["control"] == first["target"]).all()


def test_a_group_left_out_is_as_if_it_had_not_been_asked():
    groups = np.array([f"wording {n % 2}" for n in range(len(ITEMS.target.unit))], dtype=object)
    found = dict(leave_out(ITEMS, {"target": groups, "control": groups}))
    assert list(found) == ["wording 0", "wording 1"]
    draw = found["wording 1"]
    assert draw["exclusion"].all()
    kept = np.arange(len(groups)) % 2 == 0
    smaller = ItemTables(
        LAYOUT,
        *(
            table_of(table.culture[kept], table.unit[kept], table.scores(ALL)[kept])
            for table in (ITEMS.target, ITEMS.control)
        ),
        None,
    )
    expected = one_table(smaller, whole(smaller)).difference
    np.testing.assert_allclose(one_table(ITEMS, draw).difference, expected, atol=1e-14)


def test_the_memory_limit_changes_no_result(monkeypatch):
    draws = list(bootstrap(ITEMS, 5))
    expected = [table.difference for table in resampled_tables(ITEMS, draws)]
    monkeypatch.setattr("culnig.selection.resampling._TABLE_BYTES", 1)
    monkeypatch.setattr("culnig.selection.resampling._BLOCK_CELLS", 700)
    for table, known in zip(resampled_tables(ITEMS, iter(draws)), expected, strict=True):
        np.testing.assert_allclose(table.difference, known, atol=1e-14)
        assert table.exclusion is not None


def test_a_control_in_another_order_of_cultures():
    backwards = replace(
        ITEMS,
        control=table_of(
            ITEMS.control.culture[::-1], ITEMS.control.unit[::-1], ITEMS.control.scores(ALL)[::-1]
        ),
    )
    for draw in bootstrap(backwards, 2):
        assert (draw["control"][::-1] == draw["target"]).all()
        np.testing.assert_allclose(
            one_table(backwards, draw).difference, by_hand(backwards, draw), atol=1e-14
        )


def test_without_control_and_exclusion():
    alone = replace(ITEMS, control=None, exclusion=None)
    table = one_table(alone, whole(alone))
    assert table.exclusion is None
    n = len(ITEMS.target.unit)
    expected = [ITEMS.target.scores(ALL)[ITEMS.target.culture == c].sum(axis=0) / n for c in CULTURES]
    np.testing.assert_allclose(table.difference, expected, atol=1e-14)


def test_impossible_draws_are_refused():
    single = item_tables(questions=1)
    with pytest.raises(SelectionError, match="China has a single question in the target"):
        next(split_halves(single, 1))
    same = np.array(["x"] * len(ITEMS.target.unit), dtype=object)
    with pytest.raises(SelectionError, match=r"one group \(x\); leaving one out needs at least two"):
        next(leave_out(ITEMS, {"target": same}))
    with pytest.raises(SelectionError, match="without 'China', no items of China are left"):
        next(leave_out(ITEMS, {"target": ITEMS.target.culture}))


def test_groups_are_left_out_in_the_order_of_their_names():
    n = len(ITEMS.target.unit)
    groups = np.array([f"wording {chr(ord('l') - number % 12)}" for number in range(n)], dtype=object)
    left_out = [name for name, _ in leave_out(ITEMS, {"target": groups})]
    assert left_out == [f"wording {letter}" for letter in "abcdefghijkl"]
