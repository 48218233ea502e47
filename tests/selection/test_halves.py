"""Tables of two halves: by hand, and against item scores weighted with the same halves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from culnig.benchmarks.base import ChosenItems
from culnig.errors import SelectionError
from culnig.scoring.question_halves import half_of_items
from culnig.scoring.run import RunSettings, score_run
from culnig.scoring.scoring import ScoreSettings
from culnig.selection.halves import half_tables
from culnig.selection.resampling import resampled_tables
from culnig.selection.stored_items import items_of_run
from culnig.selection.tables import choose_roles
from culnig.store.run import Run
from culnig.store.writer import Portion, PortionState, RunWriter
from tests.tiny_models import tiny_items, tiny_model
from tests.toy import answered, items, moments, record, toy_layout

LAYOUT = toy_layout(1, {"mlp.gate_proj": 3})


def run_of_halves(folder, tables):
    """A run whose benchmarks have two portions, one of each half: (role, cultures, [(n_items, sums)] * 2)."""
    with RunWriter.open(folder, record(), LAYOUT) as writer:
        for name, (role, cultures, halves) in tables.items():
            place = 0
            for number, (n_items, sums) in enumerate(halves):
                asked = items(cultures, questions=1)
                portion = Portion(name, number, 2, 1, half=number + 1)
                places = np.arange(place, place + len(asked))
                place += len(asked)
                state = PortionState(
                    moments(cultures, n_items, sums), answered(asked, [True] * len(asked)), places, 1
                )
                writer.save_part(portion, role, "identify", state)
        writer.finish(dict.fromkeys(tables, 2))
    return Run(folder)


def test_two_halves_by_hand(tmp_path):
    target = [([2, 3], [[10, 0, 5], [5, 5, 5]]), ([2, 2], [[4, 8, 0], [0, 4, 4]])]
    control = [([1, 1], [[2, 2, 2], [0, 4, 2]]), ([3, 1], [[4, 0, 0], [8, 4, 0]])]
    run = run_of_halves(
        tmp_path / "run",
        {"t": ("target", ("c0", "c1"), target), "c": ("control", ("c1", "c0"), control)},
    )
    first, second = half_tables(run, choose_roles(run, use_exclusion=False))
    assert first.cultures == ("c0", "c1")
    # target / 5 and / 4 items, control / 2 and / 4; the control keeps its cultures the other way round
    np.testing.assert_allclose(first.difference, [[2 - 0, 0 - 2, 1 - 1], [1 - 1, 1 - 1, 1 - 1]])
    np.testing.assert_allclose(second.difference, [[1 - 2, 2 - 1, 0 - 0], [0 - 1, 1 - 0, 1 - 0]])
    assert (first.source["half"], second.source["half"]) == (1, 2)


def test_a_half_without_items_of_a_culture_is_refused(tmp_path):
    run = run_of_halves(
        tmp_path / "run",
        {"t": ("target", ("c0", "c1"), [([2, 3], np.ones((2, 3))), ([0, 2], np.ones((2, 3)))])},
    )
    roles = choose_roles(run, use_control=False, use_exclusion=False)
    with pytest.raises(SelectionError, match="c0: too few questions in 't'"):
        half_tables(run, roles)


def test_halves_equal_tables_from_item_scores(tmp_path):
    asked = [replace(item, question_id=f"q{number // 6}") for number, item in enumerate(tiny_items(60))]
    shortened = [replace(item, prompt=" ".join(item.prompt.split()[:2])) for item in asked]
    benchmarks = {
        "target": ChosenItems("target", "identify", asked),
        "control": ChosenItems("control", "identify", shortened[::-1]),
        "exclusion": ChosenItems("exclusion", "identify", asked[:30]),
    }
    how = RunSettings(level="item", halves=True)
    run = score_run(
        tiny_model(), benchmarks, ScoreSettings(token_budget=150), tmp_path / "run", run_settings=how
    )
    roles = choose_roles(run)
    half = {name: half_of_items(chosen.items) for name, chosen in benchmarks.items()}
    draws = [{name: (numbers == number).astype(float) for name, numbers in half.items()} for number in (1, 2)]
    expected = resampled_tables(items_of_run(run, roles), draws)
    for found, from_items in zip(half_tables(run, roles), expected, strict=True):
        scale = np.abs(from_items.difference).max()
        np.testing.assert_allclose(found.difference, from_items.difference, atol=1e-12 * scale)
        np.testing.assert_allclose(
            found.exclusion.sum, from_items.exclusion.sum, atol=1e-12 * np.abs(found.exclusion.sum).max()
        )
        assert found.exclusion.cultures == from_items.exclusion.cultures
