from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from culnig.errors import StoreError
from culnig.evaluation.agreement import check_rows
from culnig.evaluation.stored import open_evaluation
from tests.toy import answered, items

OLD = Path(__file__).parents[1] / "fixtures" / "first-edition" / "evaluations" / "finished"


def opened(folder: Path, change: Any = lambda row: None) -> Any:
    """The old evaluation, after a change to its second row."""
    shutil.copytree(OLD, folder)
    results = json.loads((folder / "results.json").read_text())
    change(results["rows"][1])
    (folder / "results.json").write_text(json.dumps(results))
    return open_evaluation(folder)


def test_an_old_evaluation_agrees_with_its_items(tmp_path):
    assert len(opened(tmp_path / "old").rows) == 18


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda row: row.update(accuracy=0.3433), r"accuracy is 0\.3433, but the items have 0\.33333"),
        (
            lambda row: row.update(confidence=0.2733994),
            r"p_gold is 0\.2733994, but the items have 0\.27339932",
        ),
        (lambda row: row.update(log_probability="-2.0"), "log_probability is '-2.0', but the items have -2"),
        (lambda row: row.update(option_mass=float("nan")), "option_mass is nan, but the items have 0.57"),
        (lambda row: row.update(n=35), "n is 35, but there are 36 in items.h5"),
        (lambda row: row.update(n_units=36), "n_questions is 36, but there are 18 in items.h5"),
        (lambda row: row.update(condition="specific China 2"), "the answers to .* are missing"),
        (lambda row: row.update(p_value=1.5), r"p_value is 1\.5, but it is between 0 and 1"),
        (lambda row: row.update(n_neurons="7"), "n_neurons is '7', but it is a count"),
        (lambda row: row.update(culture=["Spain"]), r"culture is \['Spain'\], but it is a text or null"),
        (
            lambda row: row["change"]["accuracy"].update(interval=[0.1, -0.6]),
            r"change\.accuracy\.interval is \[0\.1, -0\.6\], but an interval is two numbers, the lower one",
        ),
        (
            lambda row: row["change"]["accuracy"].update(p_value=-0.1),
            r"change\.accuracy\.p_value is -0\.1, but a p-value is between 0 and 1",
        ),
        (
            lambda row: row["change"]["accuracy"].update(effect=float("inf")),
            "effect is inf, but it is a finite",
        ),
    ],
)
def test_a_row_that_cannot_be_right_is_named(tmp_path, change, message):
    with pytest.raises(StoreError, match=message):
        opened(tmp_path / "old", change)


def test_an_alignment_is_between_0_and_100():
    outcomes = answered(items(["China"], questions=2), [True, False])
    answers = {("survey", "unmasked"): outcomes}
    for alignment in (0.0, 87.5, 100.0):
        outcomes.alignment[:] = alignment
        row = {"benchmark": "survey", "condition": "unmasked", "alignment": alignment}
        check_rows(OLD, [row], answers)
    outcomes.alignment[:] = 100.5
    with pytest.raises(StoreError, match=r"alignment is 100\.5, but it is between 0 and 100"):
        check_rows(OLD, [{"benchmark": "survey", "condition": "unmasked", "alignment": 100.5}], answers)
