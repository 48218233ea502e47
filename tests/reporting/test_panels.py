"""Panels that say where a change starts, what a dose is compared with, and how stable a similarity is."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from culnig import registry
from culnig.evaluation.instances.file import StoredInstances
from culnig.evaluation.stored import Evaluation
from culnig.reporting.charts import LEAST_RANGE, Line, Mark, MarkRow, bars, intervals, lines
from culnig.reporting.methods import UNKNOWN, data_table
from culnig.reporting.sections.cultures import similarity_section
from culnig.reporting.sections.instances import positive_interval
from culnig.reporting.sections.masking import masking_section
from culnig.reporting.sections.specificity import dose_lines
from culnig.reporting.sources import Sources
from tests.reporting.samples import STABILITY
from tests.reporting.test_summary import compared, row, unmasked
from tests.toy import neuron_set, toy_layout

SAID = {"title": "T", "description": "D"}


def texts(drawing):
    """What is written in a drawing, in order."""
    return re.findall(r"<text[^>]*>([^<]*)<", drawing)


def test_changes_say_the_level_that_they_start_from_and_chance():
    start = unmasked(accuracy=0.27, chance=0.25)
    own = row(chance=0.25, change={"accuracy": compared(-0.1, 0.01, -0.15, -0.05)}, n_questions=400)
    start, own = (
        {"option_accuracy": 0.5, "p_gold": 0.5, "option_mass": 0.9, **each} for each in (start, own)
    )
    evaluation = Evaluation(Path("EVAL"), {"rows": [start, {"accuracy": 0.17, **own}]}, {})
    panel = masking_section([evaluation]).panels[0]
    assert "blend (400 questions, unmasked 27.0 %, chance 25.0 %)" in panel.chart
    assert "at chance: −2.00" in panel.chart
    assert ("chance", "where the model would be at chance") in panel.legend


def test_a_chance_beyond_the_axis_does_not_widen_it():
    marks = [Mark("effect", 0.01, (0.0, 0.02), ""), Mark("chance", -0.5, None, "far")]
    drawing = intervals([MarkRow("a", marks)], axis="", percent=True, **SAID)
    assert "far" not in drawing
    assert "−50" not in texts(drawing)


def test_no_change_does_not_fill_the_axis():
    drawing = intervals([MarkRow("a", [Mark("effect", 0.0, (0.0, 0.0), "")])], axis="", percent=True, **SAID)
    assert texts(drawing) == ["−2", "−1", "0", "1", "2", "a", ""]
    assert pytest.approx(0.04) == LEAST_RANGE
    flat = lines([Line("l", [0, 1], [0.0, 0.0])], x_axis="", y_axis="", percent=True, **SAID)
    assert texts(flat)[:3] == ["0", "1", "2"]


def dose(factor, effect, damage):
    common = {"of_set": "s", "share": 1.0, "metric": "accuracy", "condition": f"s × {factor}"}
    return {**common, "factor": factor, "effect": effect, "damage": damage}


def test_every_dose_line_goes_through_the_unmasked_model_and_has_intervals():
    doses = [dose(0.0, 0.1, 0.02), dose(2.0, 0.03, None)]
    rows = [
        {"condition": "s × 0.0", "change": {"accuracy": compared(-0.1, 0.01, -0.2, 0.0)}},
        {"condition": "s × 2.0", "change": {"accuracy": compared(0.03, 0.01, 0.01, 0.05)}},
    ]
    effect, damage = dose_lines(doses, rows, by_share=False)
    assert list(effect.x) == [0.0, 1.0, 2.0]
    assert list(effect.y) == [0.1, 0.0, 0.03]
    assert list(effect.intervals) == [(0.0, 0.2), None, (0.01, 0.05)]
    assert list(damage.x) == [0.0, 1.0]
    drawing = lines([effect], x_axis="factor", y_axis="", percent=True, **SAID)
    assert drawing.count("solid") == 2


def test_similar_sets_are_shown_only_with_their_stability():
    layout = toy_layout()
    sets = [neuron_set(layout, range(8 + n, 12 + n), f"s{n}") for n in range(2)]
    assert similarity_section([], sets).panels == []
    stable = [replace(chosen, method={**chosen.method, "stability": STABILITY}) for chosen in sets]
    (panel,) = similarity_section([], stable).panels
    assert panel.table is not None
    first, second = panel.table.rows
    assert first[1] == second[2] == 0.4  # of a set and the same selection from other questions
    assert first[2] == second[1] == pytest.approx(3 / 5)


def test_shares_of_problems_have_an_interval_over_questions():
    raw = np.array([[1.0], [1.0], [1.0], [-1.0]])
    texts = np.array(["a", "a", "b", "c"], dtype=object)
    stored = StoredInstances({}, texts, texts, texts, (), raw, None)
    everything = np.ones(4, dtype=bool)
    low, high = positive_interval(stored, everything)
    assert 0 <= low < 0.75 < high <= 1
    assert positive_interval(replace(stored, question=None), everything) is None
    assert positive_interval(stored, texts == "a") is None  # one question
    drawing = bars(["x"], [0.5], [""], ranges=[(0.25, 0.75)], reference=0.5, **SAID)
    assert drawing.count("whisker") == 1
    assert 'class="chance"' in drawing


def test_licences_come_from_the_benchmarks_and_from_the_record_first():
    rows = [unmasked(), row()]
    about = {"everyday": {}, "mrpc": {}, "own": {}, "declared": {"licence": LICENCE}}
    answers = {(name, "unmasked"): None for name in about}
    evaluation = Evaluation(Path("EVAL"), {"rows": rows, "benchmarks": about}, answers)
    licences = {cells[0]: cells[2] for cells in data_table(Sources(evaluations=[evaluation])).rows}
    assert licences == {
        "everyday": "MIT, ours",
        "mrpc": "Microsoft's research licence; non-commercial",
        "own": UNKNOWN,
        "declared": "CC BY-NC 4.0; no training; non-commercial",
    }


LICENCE = {"name": "CC BY-NC 4.0", "training": "forbidden", "non_commercial": True}


def test_every_benchmark_that_is_built_in_and_not_of_the_world_values_survey_names_its_licence():
    unnamed = {benchmark.name for benchmark in registry.benchmarks() if benchmark.licence is None}
    assert unnamed == {"worldvalues", "worldvalues-all"}
