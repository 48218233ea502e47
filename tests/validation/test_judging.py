"""Methods are judged on tables with a known order."""

from __future__ import annotations

import numpy as np
import pytest

from culnig.core.neurons import MLP_GATE
from culnig.validation.judging import Truth, judge
from culnig.validation.methods import CONTRIBUTION, METHODS, Method
from tests.toy import CULTURES, WIDTHS, moments, toy_layout, write_run

LAYOUT = toy_layout(1, WIDTHS | {MLP_GATE: 100})
GATES = LAYOUT.pool("mlp")
OWN = GATES[:2]
"""China's neurons: the first two of the gates."""
FORMAT = GATES[10:14]
"""High in target and control alike, for every culture."""
NAME = GATES[14:15]
"""Highest for China, and by exclusion score."""
EVERYWHERE = GATES[20:23]
"""Higher than China's neurons, in every culture alike."""


@pytest.fixture
def run(tmp_path):
    target = np.tile(np.linspace(0.1, 0, LAYOUT.n_neurons), (4, 1))
    control, exclusion = np.zeros_like(target), np.zeros_like(target)
    target[0, OWN] = 2
    target[:, FORMAT], control[:, FORMAT] = 9, 9
    target[0, NAME], exclusion[0, NAME] = 5, 5
    target[:, EVERYWHERE] = 4
    items = [1, 1, 1, 1]
    return write_run(
        tmp_path / "run",
        LAYOUT,
        {
            "toy-target": ("target", moments(CULTURES, items, target)),
            "toy-control": ("control", moments(CULTURES, items, control)),
            "toy-exclusion": ("exclusion", moments(CULTURES, items, exclusion)),
        },
    )


def average_precision(run, **steps) -> float:
    truth = Truth(OWN, {"China": OWN})
    return judge(Method("scores", **steps), {"scores": run}, truth, 0).by_culture["China"].average_precision


def test_each_step_removes_its_kind_of_neurons(run):
    # 100 gates: the top 1 % by exclusion score is one neuron

    def at(first: int) -> float:
        """AP of two neurons in a row from this rank on."""
        return (1 / first + 2 / (first + 1)) / 2

    assert average_precision(run) == pytest.approx(at(1 + 4 + 1 + 3))
    assert average_precision(run, control=True) == pytest.approx(at(1 + 1 + 3))
    assert average_precision(run, control=True, exclusion=True) == pytest.approx(at(1 + 3))
    assert average_precision(run, control=True, z=True) == pytest.approx(at(1 + 1))
    assert average_precision(run, control=True, exclusion=True, z=True) == 1
    assert average_precision(run, control=True, rank_by="margin") == pytest.approx(at(1 + 1))
    shrunken = {"control": True, "rank_by": "shrunken-z", "shrink": 1.0}
    assert average_precision(run, **shrunken) == pytest.approx(at(1 + 1))
    assert average_precision(run, **shrunken, exclusion=True) == 1


def test_all_planted_neurons_are_ranked_by_the_sum_over_cultures(run):
    truth = Truth(EVERYWHERE, {"China": OWN})
    found = judge(Method("scores", control=True), {"scores": run}, truth, 0).general
    assert found.average_precision == 1
    assert found.chance == 3 / 100
    assert found.chance_average_precision == pytest.approx(
        0.07103, abs=1e-5
    )  # (H + 2/99 · (100 − H))/100, H = Σ 1/i
    assert found.average_precision_all == 1


def test_random_orders_come_to_chance(run):
    truth = Truth(GATES[:50], {"China": GATES[:20]})
    found = judge(METHODS[-1], {CONTRIBUTION: run}, truth, 0)
    assert found.general.precision_at_k == pytest.approx(0.5, abs=0.1)
    assert found.specific.precision_at_k == pytest.approx(0.2, abs=0.1)
    assert judge(METHODS[-1], {CONTRIBUTION: run}, truth, 0) == found


def test_a_random_selection_knows_nothing_of_the_run(run):
    """The run's own totals would select the format's neurons every time."""
    truth = Truth(FORMAT, {"China": OWN})
    general = judge(Method("scores"), {"scores": run}, truth, 0).general
    random = judge(METHODS[-1], {CONTRIBUTION: run}, truth, 0).general
    assert general.selected_precision == 1
    assert random.selected_precision < 0.3
