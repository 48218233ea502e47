"""The part of a report on trained arms: the numbers of `arms.json`, arm by arm."""

from __future__ import annotations

import json

from culnig.reporting.page import Report
from culnig.reporting.sections.training import training_section
from culnig.reporting.sources import read_sources


def test_the_tables_contain_the_changes_of_the_comparison(sample):
    document = json.loads((sample.arms / "arms.json").read_text())
    section = training_section([document])
    titles = [panel.title for panel in section.panels]
    assert titles == ["accuracy", "option accuracy", "P(gold)", "arm against arm", "what was trained"]
    accuracy = section.panels[0].table
    assert [row[:3] for row in accuracy.rows] == [
        ("top", "qnli", "task"),
        ("bottom", "qnli", "task"),
        ("top", "toy <i>target", "culture"),
        ("bottom", "toy <i>target", "culture"),
    ]
    (cost,) = [
        row
        for row in document["changes"]
        if (row["arm"], row["kind"], row["metric"]) == ("top", "culture", "accuracy")
    ]
    change = cost["change"]
    assert accuracy.rows[2][4:] == (
        *(cost["before"], cost["after"], change["effect"], *change["interval"], change["p_value"]),
        *(cost["p_holm"], min(cost["by_seed"]), max(cost["by_seed"])),
    )
    assert accuracy.rows[2][6] < -0.3  # as the sample was made
    against = section.panels[3].table
    assert {row[:2] for row in against.rows} == {("bottom", "top")}
    assert section.panels[4].table.rows[0] == (
        *("top", "42", 1000, 0.25, 5, 2.0, 0.5),
        *(5, 4, 0.01, 0.002, 3, 5),
    )
    assert section.panels[4].table.rows[1][-2:] == (None, None)  # of that seed nothing was scored again


def test_a_chart_has_a_mark_for_each_seed_and_one_interval_for_their_mean(sample):
    drawing = training_section([json.loads((sample.arms / "arms.json").read_text())]).panels[0].chart
    assert drawing.count('<line class="random"') == 2 * 4
    assert drawing.count('<circle class="effect"') == 4
    assert drawing.index("qnli (task; 40 questions") < drawing.index(
        "toy &lt;i&gt;target (culture; 6 questions"
    )


def test_several_comparisons_have_different_names(sample, tmp_path):
    (tmp_path / "arms").mkdir()
    (tmp_path / "arms" / "arms.json").write_bytes((sample.arms / "arms.json").read_bytes())
    report = Report(read_sources([sample.arms, tmp_path / "arms"]))
    names = [table.name for table in report.tables]
    assert len(set(names)) == len(names)
    assert {"training-1-accuracy", "training-2-accuracy"} <= set(names)
    assert report.title == "Culture neurons of toy"
    assert "We trained top, bottom (1,000 parameters in top) on qnli for 20 steps" in report.methods


def test_provenance_settings_and_data_name_the_arms(sample):
    report = Report(read_sources([sample.arms]))
    provenance, settings, data = report.about
    assert provenance.rows == [("arms", "qnli", "toy", "7" * 16)]
    assert ("arms on qnli", "learning_rate", "3e-05") in settings.rows
    assert [row[:2] for row in data.rows] == [("qnli", "qnli_train.jsonl"), ("toy <i>target", "–")]
