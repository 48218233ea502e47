"""What is said beside numbers that mean little."""

from __future__ import annotations

from dataclasses import replace
from math import sqrt

import numpy as np
import pytest
from scipy import stats

from culnig.store.warnings import answer_warnings, check_warnings, run_warnings
from tests.answered import answers
from tests.toy import random_moments, toy_layout, write_run

LAYOUT = toy_layout()


def kinds(warnings):
    return [warning.kind for warning in warnings]


@pytest.mark.parametrize(
    ("n_right", "is_near"),
    [(100, True), (115, True), (140, False), (300, False), (40, True)],
    ids=["at", "a little above", "above", "far above", "below"],
)
def test_accuracy_is_near_chance_where_its_interval_reaches_chance(n_right, is_near):
    """400 questions of 4 labels: chance is 100 right, the standard error of a count of 115 is 9."""
    assert 115 - 1.96 * sqrt(400 * 0.2875 * 0.7125) < 100 < 140 - 1.96 * sqrt(400 * 0.35 * 0.65)
    assert kinds(answer_warnings("blend", answers(400, n_right, mass=1.0))) == ["chance"] * is_near


def test_the_interval_is_over_questions_not_items():
    """140 of 400 items is above chance, but of 8 questions that agree in all of 50 wordings it is not."""
    assert kinds(answer_warnings("blend", answers(400, 140, mass=1.0, per_question=50))) == ["chance"]


@pytest.mark.parametrize(("n_right", "is_near"), [(0, True), (100, True), (400, False)])
def test_questions_that_all_agree_have_no_interval_but_a_verdict(n_right, is_near):
    """One in four wordings of each of 100 questions right, or none, or all: nothing varies."""
    items = answers(400, n_right, mass=1.0)
    order = np.argsort(np.arange(400) % 100, kind="stable")
    items = replace(items.take(order), question_id=np.repeat([f"q{n}" for n in range(100)], 4).astype(object))
    assert kinds(answer_warnings("blend", items)) == ["chance"] * is_near


@pytest.mark.parametrize("n", [9, 12, 24])
def test_the_interval_is_t_times_the_error_of_a_count(n):
    """Half of n right, one item each: ±t(n − 1) · √(0.25 / (n − 1))."""
    low = 0.5 - stats.t.ppf(0.975, n - 1) * sqrt(0.25 / (n - 1))
    assert (low <= 0.25) == (n <= 12)  # 0.115, 0.183 and 0.284; the bootstrap says 0.22 for 12
    warned = list(answer_warnings("blend", answers(n, n // 2 if n % 2 == 0 else 5, mass=1.0)))
    assert kinds(warned) == ["chance"] * (n <= 12)


def test_the_sentence_has_the_figures():
    (warning,) = answer_warnings("blend", answers(400, 100, mass=1.0))
    assert warning.text.startswith(
        "Near chance: the unmasked model picks the correct label of blend for 25.0 %"
    )
    assert "over 400 questions" in warning.text
    assert "chance is 25.0 %" in warning.text
    assert not warning.stops_selection


@pytest.mark.parametrize(("mass", "is_low"), [(0.5, False), (0.11, False), (0.09, True), (1e-9, True)])
def test_labels_without_probability_are_said(mass, is_low):
    assert kinds(answer_warnings("blend", answers(400, 300, mass))) == ["option mass"] * is_low


def test_the_interval_of_a_share_ends_at_all_and_nothing():
    (warning,) = answer_warnings("blend", answers(3, 1, mass=1.0))
    assert "questions 0 % to 100 %)" in warning.text


def test_nothing_is_said_of_no_answers_and_of_one_question():
    assert kinds(answer_warnings("blend", answers(0, 0, 1.0))) == []
    assert kinds(answer_warnings("blend", answers(4, 0, 1.0, per_question=4))) == []


@pytest.mark.parametrize(
    ("check", "expected"),
    [
        (None, []),
        ({"performed": True, "batch_dependence": None}, []),
        ({"performed": True, "batch_dependence": 0.01}, []),
        ({"performed": True, "batch_dependence": 0.12}, ["batch dependence"]),
        ({"performed": False}, ["checks"]),
    ],
)
def test_the_quick_checks_are_judged_from_the_record(check, expected):
    warnings = list(check_warnings({} if check is None else {"check": check}))
    assert kinds(warnings) == expected
    assert all("12.0 %" in warning.text for warning in warnings if warning.kind == "batch dependence")


def zeroed(share, module):
    """Moments in which this share of a module's neurons has no score."""
    table = random_moments(0, LAYOUT.n_neurons)
    own = LAYOUT.pool(module)
    table.sum[:, own[: round(share * len(own))]] = 0.0
    return table


@pytest.mark.parametrize(("share", "is_most"), [(0.4, False), (0.6, True), (1.0, True)])
def test_a_pool_of_zeros_stops_the_selection(tmp_path, share, is_most):
    written = write_run(tmp_path / "run", LAYOUT, {"t": ("target", zeroed(share, "mlp.gate_proj"))})
    warnings = [warning for warning in run_warnings(written) if warning.kind == "zero scores"]
    assert len(warnings) == is_most
    for warning in warnings:
        n = len(LAYOUT.pool("mlp.gate_proj"))
        assert f"{100 * round(share * n) / n:.3g}".rstrip(".") in warning.text
        assert "% of pool mlp" in warning.text
        assert warning.stops_selection
        assert "attention" not in warning.text


def test_zeros_of_a_control_are_the_clamp(tmp_path):
    tables = {"t": ("target", zeroed(0, "mlp")), "c": ("control", zeroed(1, "mlp"))}
    assert "zero scores" not in kinds(run_warnings(write_run(tmp_path / "run", LAYOUT, tables)))


def test_float16_gets_its_own_advice(tmp_path):
    run = write_run(tmp_path / "run", LAYOUT, {"t": ("target", zeroed(1, "mlp"))})
    run.record["model"]["dtype"] = "float16"
    run.record["check"] = {"performed": False}
    warnings = run_warnings(run)
    first = warnings[0]
    assert first.kind == "zero scores"
    assert "in bfloat16 or float32" in first.advice
    assert "checks" in kinds(warnings)
    assert np.isfinite([len(str(warning)) for warning in warnings]).all()
