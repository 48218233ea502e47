"""Evidence of a selection: which tests are made, of which questions, and what is kept."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from culnig.core.outcomes import Outcomes
from culnig.errors import SelectionError
from culnig.selection import specific
from culnig.selection.evidence import Selection
from culnig.selection.select import select_general, select_specific
from tests.reanalysis.test_small_reduce import run_of
from tests.toy import items

SETTINGS = {"top": 0.5, "exclude": 0.0, "z": -99.0, "permutations": 19}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return run_of(tmp_path_factory.mktemp("evidence") / "run")


@pytest.fixture(autouse=True)
def _two_cultures_are_enough(monkeypatch):
    monkeypatch.setattr(specific, "MIN_CULTURES", 2)


def asked_of(chosen):
    return [(test["against"], test["is_rule"], test["test"]) for test in chosen.method["significance"]]


def test_a_culture_is_tested_against_the_others_and_its_control_where_there_is_one(run):
    by = "permutation of questions"
    both = select_specific(run, "Iran", **SETTINGS)
    assert asked_of(both) == [("control", False, by), ("others", False, by)]
    assert asked_of(select_specific(run, "Iran", **SETTINGS, fdr=0.9)) == [
        ("control", False, by),
        ("others", True, by),
    ]
    assert asked_of(select_specific(run, "Iran", **SETTINGS, fdr=0.9, against="control")) == [
        ("others", False, by),
        ("control", True, by),
    ]
    assert asked_of(select_specific(run, "Iran", **SETTINGS, control=False)) == [("others", False, by)]
    with pytest.raises(SelectionError, match="a test against the control needs a control"):
        select_specific(run, "Iran", **SETTINGS, control=False, against="control")
    (test,) = select_general(run, top_mlp=0.5, exclude=0.0, permutations=19).method["significance"]
    assert (test["least_p"], test["n_questions"], test["tested"]) == (1 / 20, 3, 10)


@pytest.mark.parametrize(("culture", "n"), [("Iran", 2), ("China", 5), (None, 7), ("Spain", None)])
def test_the_questions_of_a_culture_are_counted(culture, n):
    asked = items(["China"], questions=5, per_question=2)
    asked += [item for item in items(["Iran"], questions=9) if item.question_id in ("q7", "q8")]
    run = SimpleNamespace(outcomes=lambda name: Outcomes.empty(asked))
    roles = SimpleNamespace(target=SimpleNamespace(name="t"))
    assert Selection(run, roles, None, (), culture)._n_questions() == n


def test_stable_neurons_alone_are_kept_where_that_is_the_rule(run):
    options = {"top_mlp": 0.5, "top_attention": 0.5, "exclude": 0.0, "resamples": 9, "leave_out": "question"}
    shown = select_general(run, **options, stability=True)
    frequency = shown.columns["frequency"].tolist()
    assert len(frequency) == len(shown.neurons) == 5
    level = sorted(frequency)[2]
    kept = select_general(run, **options, stable=level)
    stable = [neuron for neuron, own in zip(shown.neurons, frequency, strict=True) if own >= level]
    assert list(kept.neurons) == stable
    assert 0 < len(stable) < 5
