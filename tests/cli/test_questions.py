"""Every table that a command prints says how many questions it rests on. No model is loaded."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pytest

from culnig.cli import audit, instances
from culnig.cli.evaluation_tables import print_results
from culnig.cli.score import print_run
from culnig.cli.selected import print_counts, print_sets
from culnig.cli.training_tables import print_arms
from culnig.core.outcomes import Outcomes
from culnig.core.questions import count_by_culture, count_questions
from culnig.evaluation.instances.scores import InstanceScores
from culnig.evaluation.instances.summary import summary
from culnig.evaluation.stored import open_evaluation
from culnig.reporting.caveats import caveats
from culnig.reporting.sources import Sources
from culnig.selection.evidence import Selection
from culnig.selection.significance import culture_contrast, general_contrast
from culnig.selection.stability import Agreement, with_agreement
from culnig.selection.tables import choose_roles
from culnig.store.run import Run
from culnig.training.arms_table import read_arms, write_table
from tests.reporting.samples import write_sample
from tests.toy import items, neuron_set, toy_layout, write_toy_run


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    return write_sample(tmp_path_factory.mktemp("sample"))


def printed(capsys):
    """The printed tables with their titles, in one line each, and what follows the last."""
    text = capsys.readouterr().out
    return [" ".join(block.split()) for block in text.split("\n\n") if block.strip()]


def test_questions_are_counted_over_rows_and_cultures():
    asked = [
        *items(("China", "Iran"), questions=3, per_question=2),
        *[replace(item, id=f"{item.id}!", question_id="x") for item in items(("Iran",), questions=1)],
    ]
    assert count_questions(asked) == count_questions(Outcomes.empty(asked)) == 4
    assert count_by_culture(Outcomes.empty(asked)) == {"China": 3, "Iran": 4}
    wordings = [replace(item, unit="one") for item in asked]
    assert count_questions(wordings) == count_questions(Outcomes.empty(wordings)) == 1


def test_an_evaluation_says_it_in_every_table(sample, capsys):
    results = open_evaluation(sample.evaluation).results
    print_results(results)
    tables = [block for block in printed(capsys) if "──" in block]
    assert {"matrix", "dose"} <= results.keys()
    assert len(tables) >= 6
    for table in tables:
        assert re.search(r"\b[68] (independent )?questions\b| (metric|condition) questions ", table), table
    expected = {"toy-target": 6, "toy-damage": 8}
    for row in results["rows"]:
        assert row["n_questions"] == expected[row["benchmark"]]
        assert {change["n_questions"] for change in (row["change"] or {}).values()} <= {row["n_questions"]}
    assert {(dose["n_questions"], dose["n_damage_questions"]) for dose in results["dose"]} == {(6, 8)}


def test_runs_and_arms_say_it(sample, capsys, tmp_path):
    print_run(Run(sample.run))
    (run,) = printed(capsys)
    assert re.search(r" items questions .* 24 6 ", run)
    print_arms(read_arms(sample.arms))
    changes, contrasts, _ = printed(capsys)
    assert all(" questions " in table for table in (changes, contrasts))
    write_table(tmp_path / "arms.csv", read_arms(sample.arms)["changes"])
    lines = [line.split(",") for line in (tmp_path / "arms.csv").read_text().splitlines()]
    column = lines[0].index("n_questions")
    assert {line[column] for line in lines[1:]} == {"40", "6"}


def test_a_selection_says_what_it_and_its_stability_rest_on(capsys, tmp_path):
    chosen = neuron_set(toy_layout(), range(8, 12), "general")
    print_counts(chosen)
    assert "questions" not in capsys.readouterr().out
    counted = replace(chosen, sources=[{"n_questions": {"target": 24, "control": 24}}])
    print_counts(counted)
    assert "of toy, from 24 questions" in capsys.readouterr().out
    stable = with_agreement(counted, [Agreement("split half", 1, 0.5, 0.5, 0.5, 0.1)], 12)
    print_sets([stable], [tmp_path / "x"], None, False)
    assert "split half (12 questions): Jaccard 0.500" in capsys.readouterr().out
    print_sets([stable, counted], [tmp_path / "x", tmp_path / "y"], tmp_path, False)
    (table, _) = printed(capsys)
    assert re.search(r" questions .* 12 .* 24 ", table)
    print_sets([stable], [tmp_path / "x"], None, True)
    assert json.loads(capsys.readouterr().out)["n_questions"] == 12


def test_an_audit_and_instances_say_it(capsys):
    row = {"module": "q", "layer": 0, "index": 1, "group": "top", "score": 1.0, "linear_estimate": 1.0}
    correlation = {"n": 2, "rho": 0.5, "low": 0.1, "high": 0.9}
    audit._print(
        {
            "neurons": [{**row, "effect": 1.0}],
            "correlations": {"score, all": correlation},
            "n_items": 30,
            "n_questions": 5,
            "missed": None,
        }
    )
    assert "on 30 items of 5 questions" in printed(capsys)[0]
    asked = items(questions=5)
    scores = InstanceScores(tuple(asked), np.array([8, 9]), np.ones((len(asked), 2)), None)
    document = summary(scores, toy_layout())
    assert document["n_questions"] == 5
    assert document["measures"]["raw"]["by_topic"][0]["n_questions"] in (2, 3)
    instances._print({**document, "neuron_set": "s", "benchmark": "b", "control": None})
    first, second = printed(capsys)
    assert re.search(r" n questions .* all 20 5 ", first)
    assert "over 5 questions" in second


def test_what_welch_cannot_show_is_said_beside_it(capsys, tmp_path):
    test = {
        "against": "control",
        "null": "none",
        "test": "Welch",
        "fdr": 0.05,
        "is_rule": False,
        "selected": 4,
        "selected_significant": 3,
        "tested": 50,
        "tested_significant": 5,
        "n_questions": 12,
        "uncertain_tails": 0,
        "repeats_questions": False,
    }

    def said(**changes):
        chosen = neuron_set(toy_layout(), range(8, 12), "general")
        chosen = replace(chosen, method={"name": "general", "significance": [{**test, **changes}]})
        print_sets([chosen], [tmp_path / "x"], None, False)
        told = " ".join(capsys.readouterr().out.split())
        return told, [each for each in caveats(Sources(neuron_sets=[chosen])) if "Welch" in each]

    assert "Welch's test" not in said()[0]
    told, warned = said(repeats_questions=True)
    assert "Welch, 12 questions" in told
    assert (
        "Welch's test takes the items of a question as independent, so its p is too small. Score with" in told
    )
    assert len(warned) == 1
    told, _ = said(repeats_questions=True, uncertain_tails=2)
    assert "is too small; it is far too small for 2 of the selected" in told
    assert "it takes" not in said(uncertain_tails=2)[0]


def test_welch_repeats_questions_where_several_items_of_one_are_compared(tmp_path):
    run = write_toy_run(tmp_path / "run")  # four cultures, each asked the same question
    roles = choose_roles(run)
    selection = Selection(run, roles, lambda tables: None, ["mlp"])
    assert selection._repeats_questions(general_contrast(roles))
    assert selection._repeats_questions(culture_contrast(roles, "China", "others"))
    assert not selection._repeats_questions(culture_contrast(roles, "China", "control"))
