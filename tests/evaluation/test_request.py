"""What an evaluation may be asked, and what is written down of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from culnig.errors import InputError, UnknownNameError
from culnig.evaluation.request import DOSE_FACTORS, Request, SetChoice, _split, chosen_factors
from tests.toy import neuron_set, toy_layout

ASKED = Request()


@pytest.mark.parametrize(
    ("given", "dose", "expected"),
    [
        (None, False, (0.0,)),
        ((), False, (0.0,)),
        (None, True, DOSE_FACTORS),
        (0.5, False, 0.5),
        (2, True, 2),
        ([0.0, 0.5], False, (0.0, 0.5)),
        ([2.0], True, (2.0,)),
    ],
)
def test_factors_are_those_asked_for_else_zero_or_a_series(given, dose, expected):
    assert chosen_factors(given, "scale", dose) == expected


@pytest.mark.parametrize(("given", "dose"), [(0.0, False), ([0.0], False), (None, True)])
def test_a_mask_that_replaces_takes_no_factors(given, dose):
    with pytest.raises(InputError, match="replaces activations; it cannot be combined"):
        chosen_factors(given, "mean", dose)
    assert chosen_factors(None, "mean", False) == (0.0,)


@pytest.mark.parametrize(
    ("changes", "has_sets", "has_means", "dose", "message"),
    [
        ({}, False, False, False, None),
        ({"matrix": True}, True, False, False, None),
        ({"matrix": True, "factors": (0.5,), "shares": (0.5,)}, True, False, False, None),
        ({"mask": "mean"}, True, True, False, None),
        ({"random_baseline": 10, "seed": 3}, True, False, True, None),
        ({"random_baseline": 1}, False, False, False, "random_baseline needs sets to mask"),
        ({}, False, False, True, "dose needs sets to mask"),
        ({"matrix": True}, False, False, False, "matrix needs sets to mask"),
        ({"mask": "mean"}, False, True, False, "mask needs sets to mask"),
        ({"mask": "mean"}, True, False, False, "mask='mean' and mask='resample' need means='RUN'"),
        ({}, True, True, False, "other masks do not take it"),
        ({"matrix": True, "factors": (0.0, 0.5)}, True, False, False, "matrix compares one dose of each set"),
        ({"matrix": True, "shares": (0.5, 1.0)}, True, False, False, "matrix compares one dose of each set"),
        ({"baseline_match": "size"}, True, False, False, "unknown baseline_match 'size'; choose from"),
        ({"token_budget": 0}, True, False, False, "token_budget is 0"),
        ({"max_new_tokens": 0}, True, False, False, "max_new_tokens is 0"),
        ({"random_baseline": -1}, True, False, False, "random_baseline is -1"),
        ({"seed": -1}, True, False, False, "seed is -1"),
    ],
    ids=str,
)
def test_settings_that_do_not_fit_each_other_are_refused(changes, has_sets, has_means, dose, message):
    asked = replace(ASKED, **changes)
    if message is None:
        asked.check(has_sets, has_means, dose)
        return
    with pytest.raises(InputError) as caught:
        asked.check(has_sets, has_means, dose)
    assert message in str(caught.value)


def test_the_record_holds_every_setting_and_the_run_of_the_means():
    plain = ASKED.record(None, 0)
    assert (plain["factor"], plain["mask"], plain["means"]) == (0.0, "scale", None)
    assert (plain["shares"], plain["random_baseline"], plain["matrix"]) == ((1.0,), 0, False)
    assert "seed" not in plain  # evaluations of earlier versions, which had none, can be resumed
    means = SimpleNamespace(run_id="abc")
    other = replace(ASKED, mask="mean", factors=(0.5,), seed=4, random_baseline=7).record(means, 12)
    assert other["means"] == {"run": "abc", "prompts": 12}
    assert (other["factor"], other["mask"], other["seed"], other["random_baseline"]) == ((0.5,), "mean", 4, 7)


def test_a_set_may_be_given_with_its_culture(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert _split("Iran=a.json") == ("Iran", "a.json")
    assert _split("Iran=a=b.json") == ("Iran", "a=b.json")
    assert _split("a.json") == (None, "a.json")
    assert _split(Path("Iran=a.json")) == (None, Path("Iran=a.json"))
    Path("Iran=a.json").write_text("{}")  # a file of that name
    assert _split("Iran=a.json") == (None, "Iran=a.json")
    own = neuron_set(toy_layout(), [1, 2])
    (read,) = SetChoice({"Iran": own}).read()
    assert read.method == {**own.method, "culture": "Iran"}
    assert SetChoice(own).read() == SetChoice([own]).read() == [own]
    with pytest.raises(UnknownNameError, match="Irann"):
        SetChoice({"Irann": own}).read()
