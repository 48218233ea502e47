"""The table of arms, held against plain arithmetic."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from culnig.core.outcomes import Outcomes
from culnig.errors import StoreError
from culnig.training.arms_table import (
    _over_seeds,
    change_rows,
    contrast_rows,
    kind_of,
    read_arms,
    write_table,
)
from tests.tiny_models import tiny_items

TASK = "boxes"


def outcomes(right: list[int], p_gold: float, cultures: bool = True) -> Outcomes:
    """Two items a question; `right` says which items are answered right."""
    found = Outcomes.empty(tiny_items(len(right), *([] if cultures else [("general",)])))
    found.correct[:] = np.array(right, dtype=bool)
    found.p_gold[:] = p_gold
    found.option_probabilities[:] = 0.1
    for row, answer in enumerate(found.gold):
        found.option_probabilities[row, found.options[row].index(answer)] = 0.3 if right[row] else 0.05
    return found


BEFORE = {TASK: outcomes([0, 1, 0, 0, 0, 1, 0, 0], 0.2, False), "facts": outcomes([1] * 8, 0.8)}
AFTER = {
    "top": [
        {TASK: outcomes([1] * 8, 0.9, False), "facts": outcomes([0, 0, 1, 0, 0, 0, 0, 1], 0.3)},
        {TASK: outcomes([1] * 7 + [0], 0.7, False), "facts": outcomes([0, 0, 0, 0, 0, 0, 0, 1], 0.1)},
    ],
    "bottom": [
        {TASK: outcomes([1] * 8, 0.8, False), "facts": outcomes([1] * 7 + [0], 0.7)},
        {TASK: outcomes([1] * 8, 0.8, False), "facts": outcomes([1] * 8, 0.7)},
    ],
}


def rows_of(rows, **wanted):
    return [row for row in rows if all(row[name] == value for name, value in wanted.items())]


def test_gain_and_loss_are_means_over_items_and_seeds():
    rows = change_rows(BEFORE, AFTER, TASK)
    (gain,) = rows_of(rows, arm="top", benchmark=TASK, metric="accuracy")
    assert (gain["kind"], gain["before"], gain["after"]) == ("task", 2 / 8, 15 / 16)
    assert gain["change"]["effect"] == pytest.approx(15 / 16 - 2 / 8)
    assert gain["by_seed"] == pytest.approx([6 / 8, 5 / 8])
    (loss,) = rows_of(rows, arm="top", benchmark="facts", metric="accuracy")
    assert (loss["kind"], loss["change"]["n_questions"]) == ("culture", 4)
    assert loss["change"]["effect"] == pytest.approx(3 / 16 - 1)
    # four questions, all lower: the signs of 2 of 16 patterns are as extreme
    assert loss["change"]["questions_p"] == pytest.approx(2 / 16)
    # the seeds fell by 6/8 and 7/8: t(1) = 13 has p = 1 - 2 atan(13) / π
    assert loss["change"]["seeds_p"] == pytest.approx(1 - 2 * np.arctan(13) / np.pi)
    assert loss["change"]["p_value"] == pytest.approx(2 / 16)
    (sure,) = rows_of(rows, arm="top", benchmark="facts", metric="p_gold")
    assert sure["change"]["effect"] == pytest.approx(0.2 - 0.8)


def test_a_gain_that_depends_on_the_seed_is_not_significant():
    wide = {"top": [{"facts": outcomes([1] * 40, p)} for p in (0.9, 0.25, 0.3)]}
    (row,) = rows_of(change_rows({"facts": outcomes([1] * 40, 0.2)}, wide, TASK), metric="p_gold")
    gains = np.array([0.7, 0.05, 0.1])
    change = row["change"]
    assert change["questions_p"] < 0.001
    assert change["p_value"] == change["seeds_p"] == pytest.approx(stats.ttest_1samp(gains, 0).pvalue)
    half = stats.t.ppf(0.975, 2) * gains.std(ddof=1) / np.sqrt(3)
    assert change["interval"] == pytest.approx([gains.mean() - half, gains.mean() + half])


def test_a_single_seed_has_the_test_over_questions_alone():
    (row,) = rows_of(
        change_rows({"facts": BEFORE["facts"]}, {"top": AFTER["top"][:1]}, TASK), metric="accuracy"
    )
    assert row["change"]["seeds_p"] is None
    assert row["change"]["p_value"] == row["change"]["questions_p"]


def test_arms_are_held_against_each_other_over_the_same_items():
    rows = contrast_rows(BEFORE, AFTER, TASK)
    assert {(row["arm"], row["against"]) for row in rows} == {("bottom", "top")}
    (kept,) = rows_of(rows, benchmark="facts", metric="accuracy")
    assert kept["change"]["effect"] == pytest.approx(15 / 16 - 3 / 16)
    (gain,) = rows_of(rows, benchmark=TASK, metric="accuracy")
    assert gain["change"]["effect"] == pytest.approx(1 / 16)
    assert gain["change"]["p_value"] == 1.0


@pytest.mark.parametrize("make", [change_rows, contrast_rows])
def test_p_is_adjusted_metric_by_metric(make):
    for metric in ("accuracy", "option_accuracy", "p_gold"):
        own = rows_of(make(BEFORE, AFTER, TASK), metric=metric)
        expected = multipletests([row["change"]["p_value"] for row in own], method="holm")[1]
        assert [row["p_holm"] for row in own] == pytest.approx(expected)


def test_kinds_of_benchmarks():
    assert kind_of(TASK, TASK, BEFORE["facts"]) == "task"
    assert kind_of("facts", TASK, BEFORE["facts"]) == "culture"
    assert kind_of("other", TASK, BEFORE[TASK]) == "other"


def test_the_table_is_a_csv_with_changes_and_contrasts(tmp_path):
    changes, contrasts = change_rows(BEFORE, AFTER, TASK), contrast_rows(BEFORE, AFTER, TASK)
    write_table(tmp_path / "arms.csv", [*changes, *contrasts])
    with (tmp_path / "arms.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(changes) + len(contrasts)
    assert [row["against"] for row in rows[:2]] == ["", ""]
    first = rows[0]
    assert (first["arm"], first["benchmark"], float(first["change"])) == ("top", TASK, 11 / 16)
    assert float(first["low"]) <= 11 / 16 <= float(first["high"])
    assert (float(first["seeds_low"]), float(first["seeds_high"])) == (5 / 8, 6 / 8)
    assert rows[-1]["against"] == "top"
    assert rows[-1]["seeds_low"] == ""


def test_foreign_files_are_named(tmp_path):
    with pytest.raises(StoreError, match=r"arms\.json: no such file; expected a comparison of arms"):
        read_arms(tmp_path)
    (tmp_path / "arms.json").write_text(json.dumps({"format": "other", "format_version": 1}))
    with pytest.raises(StoreError, match="format is 'other', expected 'culnig-arms'"):
        read_arms(tmp_path)


@pytest.mark.parametrize(
    ("interval", "half", "expected"),
    [
        ([-1.0, 1.0], 0.7, [-1.0, 1.0]),
        ([-1.0, 1.0], 0.99, [-1.0, 1.0]),
        ([-1.0, 1.0], 1.01, [-0.91, 1.11]),
        ([0.0, 0.4], 0.5, [-0.4, 0.6]),
        ([None, None], 0.5, [-0.4, 0.6]),
    ],
)
def test_the_wider_interval_holds(interval, half, expected):
    """Two seeds at 0.1 ∓ d: the error of their mean is d, and t(1) = tan(0.475 π) at 97.5 %."""
    d = half / np.tan(0.475 * np.pi)
    change = _over_seeds({"p_value": 0.01, "effect": 0.1, "interval": interval}, np.array([0.1 - d, 0.1 + d]))
    assert change["interval"] == pytest.approx(expected)
    # t = 0.1 / d with one degree of freedom: p = 1 − 2 atan(t) / π
    seeds_p = 1 - 2 * np.arctan(0.1 / d) / np.pi
    assert change["seeds_p"] == pytest.approx(seeds_p)
    assert change["p_value"] == pytest.approx(max(0.01, seeds_p))
    assert change["questions_p"] == 0.01


@pytest.mark.parametrize("by_seed", [[0.2], [0.2, 0.2], [0.2, 0.2 + 1e-13]])
def test_seeds_that_do_not_differ_leave_the_questions_alone(by_seed):
    change = _over_seeds({"p_value": 0.3, "effect": 0.2, "interval": [0.1, 0.3]}, np.array(by_seed))
    assert change["seeds_p"] is None
    assert (change["p_value"], change["questions_p"], change["interval"]) == (0.3, 0.3, [0.1, 0.3])


def test_a_contrast_has_the_interval_of_its_seeds_means():
    (kept,) = rows_of(contrast_rows(BEFORE, AFTER, TASK), benchmark="facts", metric="accuracy")
    # bottom − top: 7/8 − 2/8 with the first seed, 1 − 1/8 with the second; t(1) = tan(0.475 π)
    assert kept["change"]["effect"] == pytest.approx((5 / 8 + 7 / 8) / 2)
    half = 1 / 8 * np.tan(0.475 * np.pi)
    assert kept["change"]["interval"] == pytest.approx([0.75 - half, 0.75 + half])
    # t = 0.75 / 0.125 = 6
    assert kept["change"]["seeds_p"] == pytest.approx(1 - 2 * np.arctan(6) / np.pi)
