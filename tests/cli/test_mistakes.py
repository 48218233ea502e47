"""Users' mistakes: a clear message, the right exit code, nothing lost, no traceback."""

from __future__ import annotations

import json
import shutil

import pytest

from culnig.cli import main as cli_main
from culnig.errors import EnvironmentProblem
from tests.cli.conftest import score_arguments
from tests.stored import document_of


def test_an_unknown_model_offers_near_names(culnig, tmp_path):
    result = culnig(*score_arguments("embeded", tmp_path / "run"))
    assert result.code == 2
    assert "did you mean 'embedded'" in result.err
    assert not (tmp_path / "run").exists()


def test_an_unknown_benchmark_offers_near_names(culnig, tmp_path):
    result = culnig("score", "--model", "embedded", "--benchmark", "everyda", "-o", tmp_path / "run")
    assert result.code == 2
    assert "did you mean" in result.err
    assert "'everyday'" in result.err


def test_an_unknown_culture_offers_near_names(culnig, tmp_path):
    result = culnig(*score_arguments("embedded", tmp_path / "run", "--culture", "Spayn"))
    assert result.code == 2
    assert "did you mean 'Spain'" in result.err


def test_an_unknown_culture_of_a_run_lists_those_it_has(culnig, run_folder, tmp_path):
    result = culnig("select", "specific", run_folder, "--culture", "Spayn", "-o", tmp_path / "x.json")
    assert result.code == 2
    assert "did you mean 'Spain'" in result.err


def test_a_missing_data_folder_is_named(culnig, tmp_path):
    result = culnig(
        *("score", "--model", "embedded", "--benchmark", "blend", "--data-dir", tmp_path / "none"),
        *("-o", tmp_path / "run"),
    )
    assert result.code == 2
    assert "none: no such folder" in result.err


def test_a_missing_data_file_is_named_with_what_to_do(culnig, tmp_path):
    result = culnig(
        *(
            "score",
            "--model",
            "embedded",
            "--benchmark",
            "blend",
            "--data-dir",
            tmp_path,
            "-o",
            tmp_path / "run",
        )
    )
    assert result.code == 2
    assert str(tmp_path / "BLEnD" / "US_questions.csv") in result.err
    assert "CULNIG_DATA" in result.err


def test_an_existing_output_is_not_touched(culnig, run_folder, model_folder, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(run_folder, copy)
    before = (copy / "scores.h5").read_bytes()
    result = culnig(*score_arguments(model_folder, copy))
    assert result.code == 2
    assert "add --overwrite" in result.err
    assert (copy / "scores.h5").read_bytes() == before


def test_overwrite_leaves_a_foreign_folder_alone(culnig, model_folder, tmp_path):
    precious = tmp_path / "thesis"
    precious.mkdir()
    (precious / "chapter.tex").write_text("years of work")
    result = culnig(*score_arguments(model_folder, precious, "--overwrite"))
    assert result.code == 2
    assert "leaves it alone" in result.err
    assert (precious / "chapter.tex").read_text() == "years of work"


def test_resume_of_another_request_says_what_differs(culnig, run_folder, model_folder, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(run_folder, copy)
    result = culnig(*score_arguments(model_folder, copy, "--resume", "--aggregator", "mean"))
    assert result.code == 2
    assert "settings.aggregator is 'max' there and 'mean' in this request" in result.err


def test_resume_and_overwrite_together_are_refused(culnig, model_folder, tmp_path):
    result = culnig(*score_arguments(model_folder, tmp_path / "run", "--resume", "--overwrite"))
    assert result.code == 2
    assert "give only one of them" in result.err


def test_a_neuron_set_of_another_model_is_refused(culnig, run_folder, model_folder, tmp_path):
    path = tmp_path / "general.json"
    assert culnig("select", "general", run_folder, "-o", path, "--top-mlp", "0.1").code == 0
    document = document_of(path)
    document["layout_hash"] = "0" * 64
    path.write_text(json.dumps(document))
    result = culnig(
        *("evaluate", "--model", model_folder, "--benchmark", "everyday", "--limit", "1"),
        *("--neurons", path, "-o", tmp_path / "evaluation"),
    )
    assert result.code == 2
    assert "use a set made" in result.err
    assert not (tmp_path / "evaluation").exists()


@pytest.fixture(scope="module")
def target_only(model_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "target-only"
    arguments = ["score", "--model", str(model_folder), "--benchmark", "everyday", "--per-culture", "1"]
    assert cli_main.run([*arguments, "-o", str(folder)]) == 0
    return folder


def test_select_names_the_missing_control_and_how_to_go_on(culnig, target_only, tmp_path):
    result = culnig("select", "general", target_only, "-o", tmp_path / "x.json")
    assert result.code == 2
    assert "no control benchmark" in result.err
    assert "--no-control" in result.err


def test_select_names_the_missing_exclusion_and_how_to_go_on(culnig, target_only, tmp_path):
    result = culnig("select", "general", target_only, "--no-control", "-o", tmp_path / "x.json")
    assert result.code == 2
    assert "no exclusion benchmark" in result.err
    assert "--no-exclusion" in result.err
    on = culnig("select", "general", target_only, "--no-control", "--no-exclusion", "-o", tmp_path / "x.json")
    assert on.code == 0, on.err


def test_a_fraction_beyond_one_is_refused(culnig, run_folder, tmp_path):
    result = culnig("select", "general", run_folder, "--top-mlp", "1.5", "-o", tmp_path / "x.json")
    assert result.code == 2
    assert "1.5" in result.err


def test_random_baselines_need_a_set(culnig, tmp_path):
    result = culnig(
        *("evaluate", "--model", "embedded", "--benchmark", "everyday", "--random-baseline", "3"),
        *("-o", tmp_path / "evaluation"),
    )
    assert result.code == 2
    assert "--neurons" in result.err


@pytest.mark.parametrize("path", ["missing", "empty"])
def test_inspect_of_nothing_says_so(culnig, tmp_path, path):
    (tmp_path / "empty").mkdir()
    result = culnig("inspect", tmp_path / path)
    assert result.code == 2
    assert str(tmp_path / path) in result.err


def test_an_unknown_command_and_a_missing_option_are_usage_errors(culnig):
    assert culnig("scroe").code == 2
    assert culnig("score").code == 2


def test_a_problem_of_the_machine_has_its_own_code(culnig, monkeypatch):
    def without_device(*arguments, **options):
        raise EnvironmentProblem("no device")

    monkeypatch.setattr(cli_main.cli, "main", without_device)
    assert culnig("list", "models").code == 3
