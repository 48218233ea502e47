from __future__ import annotations

import json

import pytest

import culnig
from culnig.cli.main import run
from culnig.core.items import NO_CULTURE
from culnig.errors import DataFileError, InputError, MismatchError, OutputExistsError, UnknownNameError
from tests.exchange.logs import TIME, choice_line, free_line, masked, probabilities, write_log
from tests.reanalysis.released import document, written

BEFORE = [choice_line(n, probabilities(0.5, 0.2, 0.1), 0, written=0) for n in range(8)]
AFTER = [choice_line(n, probabilities(0.1, 0.3, 0.2), 0) for n in range(8)]
RANDOM = [choice_line(n, probabilities(0.4, 0.2, 0.1), 0, written=0) for n in range(8)]


@pytest.fixture
def logs(tmp_path):
    return [
        write_log(tmp_path / "masked", {"drinks": AFTER}, masked("general")),
        write_log(tmp_path / "plain", {"drinks": BEFORE}, masked("unmasked", factor=1.0) | {"set": None}),
        write_log(tmp_path / "random", {"drinks": RANDOM}, masked("random 1 like general", "general")),
    ]


def test_runs_become_conditions(logs, tmp_path):
    evaluation = culnig.import_evaluation(logs, tmp_path / "evaluation")
    assert evaluation.conditions == ["unmasked", "general", "random 1 like general"]
    assert evaluation.baselines("general") == ["random 1 like general"]
    rows = {row["condition"]: row for row in evaluation.rows}
    assert rows["unmasked"]["p_gold"] == pytest.approx(0.5)
    assert rows["general"]["p_gold"] == pytest.approx(0.1)
    assert rows["general"]["option_mass"] == pytest.approx(0.6)
    assert [rows[name]["accuracy"] for name in rows] == [1.0, 0.0, 1.0]
    assert [rows[name]["option_accuracy"] for name in rows] == [1.0, 0.0, 1.0]
    assert rows["general"]["n_questions"] == 4
    assert rows["general"]["n_neurons"] == 60
    outcomes = evaluation.answers["drinks", "unmasked"]
    assert outcomes.culture.tolist() == ["Iran", "Spain"] * 4
    assert outcomes.options[0] == ("tea", "cola", "milk")
    assert outcomes.predicted[0] == "tea"


def test_paired_tests_and_the_report_work_on_them(logs, tmp_path):
    evaluation = culnig.import_evaluation(logs, tmp_path / "evaluation")
    (row,) = culnig.compare(evaluation)
    assert row["change"]["p_gold"]["effect"] == pytest.approx(-0.4)
    assert row["against_random"]["p_gold"]["effect"] == pytest.approx(-0.3)
    culnig.report([evaluation], tmp_path / "report.html")
    assert "drinks" in (tmp_path / "report.html").read_text()


def test_the_right_choice_may_be_named_by_its_text(tmp_path):
    lines = [{**choice_line(0, probabilities(0.1, 0.6, 0.1), 1), "target": "cola"}]
    evaluation = culnig.import_evaluation(write_log(tmp_path / "log", {"drinks": lines}), tmp_path / "out")
    assert evaluation.answers["drinks", "unmasked"].gold.tolist() == ["cola"]


def digits(number, logs, target, acc):
    """An item whose choices are shuffled labels 1 to 3."""
    line = {**choice_line(number, logs, 0), "target": target, "acc": acc}
    labels = {f"gen_args_{n}": {"arg_0": "", "arg_1": f" {label}"} for n, label in enumerate("123")}
    return {**line, "arguments": labels}


@pytest.mark.parametrize(("acc", "golds"), [(0.0, ["2", "3"]), (1.0, ["1", "2"])])
def test_a_number_as_target_is_a_label_or_an_index_as_acc_says(tmp_path, acc, golds):
    """Of the second item alone nobody could tell; the first shows how the task names its targets."""
    lines = [
        digits(0, probabilities(0.6, 0.2, 0.1), "1", acc),
        digits(1, probabilities(0.6, 0.2, 0.1), "2", 0.0),
    ]
    evaluation = culnig.import_evaluation(write_log(tmp_path / "log", {"drinks": lines}), tmp_path / "out")
    assert evaluation.answers["drinks", "unmasked"].gold.tolist() == golds


def test_a_number_as_target_that_acc_does_not_explain_is_refused(tmp_path):
    lines = [digits(0, probabilities(0.6, 0.2, 0.1), "2", 0.0)]
    with pytest.raises(DataFileError, match="may be texts or indices of its choices, and acc does not tell"):
        culnig.import_evaluation(write_log(tmp_path / "log", {"drinks": lines}), tmp_path / "out")


def test_several_choices_may_be_right(tmp_path):
    lines = [{**choice_line(0, probabilities(0.1, 0.6, 0.1), 1), "target": "[1, 2]"}]
    evaluation = culnig.import_evaluation(write_log(tmp_path / "log", {"drinks": lines}), tmp_path / "out")
    outcomes = evaluation.answers["drinks", "unmasked"]
    assert (outcomes.gold[0], outcomes.also_right[0]) == ("cola", "milk")


def test_free_answers_have_no_probabilities(tmp_path):
    before = [free_line(n, "tea", "tea", right=True) for n in range(3)]
    after = [free_line(n, "water", "tea", right=False) for n in range(3)]
    evaluation = culnig.import_evaluation(
        [
            write_log(tmp_path / "plain", {"open": before}),
            write_log(tmp_path / "masked", {"open": after}, masked("general")),
        ],
        tmp_path / "out",
    )
    assert [row["accuracy"] for row in evaluation.rows] == [1.0, 0.0]
    assert {row["p_gold"] for row in evaluation.rows} == {None}
    outcomes = evaluation.answers["open", "general"]
    assert (outcomes.predicted[0], outcomes.culture[0]) == ("water", NO_CULTURE)
    with pytest.raises(UnknownNameError, match=r"unknown metric of .* 'p_gold'; known: accuracy"):
        evaluation.plot("p_gold")


# Bad input


def test_the_unmasked_run_is_needed(logs, tmp_path):
    with pytest.raises(InputError, match="also give those of the unmasked model"):
        culnig.import_evaluation(logs[0], tmp_path / "out")


def test_a_condition_is_given_once(logs, tmp_path):
    twice = write_log(tmp_path / "again", {"drinks": AFTER}, masked("general"))
    with pytest.raises(InputError, match="are both 'general'"):
        culnig.import_evaluation([*logs, twice], tmp_path / "out")


def test_runs_over_other_items_are_refused(logs, tmp_path):
    other = write_log(tmp_path / "other", {"drinks": AFTER[:5]}, masked("other"))
    with pytest.raises(MismatchError, match=r"did not ask the same in 'drinks' \(5 and 8 items\)"):
        culnig.import_evaluation([*logs, other], tmp_path / "out")
    task = write_log(tmp_path / "task", {"meals": AFTER}, masked("other"))
    with pytest.raises(MismatchError, match="no task is in all of the 2 runs"):
        culnig.import_evaluation([logs[1], task], tmp_path / "out")
    model = write_log(tmp_path / "model", {"drinks": AFTER}, masked("other") | {"layout_hash": "x"})
    with pytest.raises(MismatchError, match="different layouts"):
        culnig.import_evaluation([logs[1], model], tmp_path / "out")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"target": "5"}, "target '5' is none of the 3 choices"),
        ({"target": "1"}, "is not the choice that acc"),
        ({"target": "water"}, "cannot be read"),
        ({"arguments": {}}, "cannot be read"),
        ({"doc": 3}, "no item of lm-evaluation-harness"),
        ({"doc_id": "x"}, "no item of lm-evaluation-harness"),
    ],
)
def test_lines_that_say_too_little_are_refused(tmp_path, change, message):
    log = write_log(tmp_path / "log", {"drinks": [{**BEFORE[0], **change}]})
    with pytest.raises(DataFileError, match=message):
        culnig.import_evaluation(log, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_tasks_without_right_answers_are_refused(tmp_path):
    line = {**free_line(0, "text", "text", right=True), "metrics": ["perplexity"]}
    del line["exact_match"]
    log = write_log(tmp_path / "log", {"wiki": [line]})
    with pytest.raises(DataFileError, match=r"its metrics \(perplexity\) do not say whether"):
        culnig.import_evaluation(log, tmp_path / "out")


def test_missing_and_damaged_logs_are_refused(logs, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataFileError, match="run the harness with --output_path FOLDER --log_samples"):
        culnig.import_evaluation(tmp_path / "empty", tmp_path / "out")
    (logs[1] / f"samples_drinks_{TIME}.jsonl").write_bytes(b'{"doc": "\xff"}\n')
    with pytest.raises(DataFileError, match="line 1: no item of lm-evaluation-harness"):
        culnig.import_evaluation(logs, tmp_path / "out")
    (logs[1] / f"samples_drinks_{TIME}.jsonl").unlink()
    with pytest.raises(DataFileError, match="run the harness with --log_samples"):
        culnig.import_evaluation(logs, tmp_path / "out")
    (logs[1] / f"results_{TIME}.json").write_text("{")
    with pytest.raises(DataFileError, match="no results of lm-evaluation-harness"):
        culnig.import_evaluation(logs, tmp_path / "out")


def test_the_command_tells_logs_from_score_files(logs, tmp_path, capfd):
    arguments = ["import", *map(str, logs), "-o", str(tmp_path / "evaluation")]
    assert run([*arguments, "--json"]) == 0
    assert len(json.loads(capfd.readouterr().out)["rows"]) == 3
    with pytest.raises(OutputExistsError, match="exists and is not empty"):
        culnig.import_evaluation(logs, tmp_path / "evaluation")
    assert run([*arguments, "--overwrite"]) == 0
    assert "Written to" in capfd.readouterr().out
    scores = written(tmp_path / "max.json", document("blend", 0, 10))
    assert run(["import", str(logs[0]), str(scores), "-o", str(tmp_path / "both")]) == 2
    assert "import score files and logs into separate outputs" in capfd.readouterr().err
