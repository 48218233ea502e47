"""`study`, `hub` and `neurons compare` on the command line: what they print, and their exit codes."""

from __future__ import annotations

import json

import yaml

from culnig.cli.main import run
from tests.studies.test_running import SMALL
from tests.studies.tiny_studies import write_study


def test_a_study_to_begin_with_and_its_schema_are_printed(capsys):
    assert run(["study", "--init", "small"]) == 0
    assert set(yaml.safe_load(capsys.readouterr().out)["models"]) == {"smollm2"}
    assert run(["study", "--schema"]) == 0
    assert json.loads(capsys.readouterr().out)["properties"]["models"]


def test_what_is_missing_is_asked_for(capsys, tmp_path):
    assert run(["study", "--only", "scores"]) == 2
    assert "give the file of a study, or print one with --init small" in capsys.readouterr().err
    assert run(["study", str(tmp_path / "none.yaml")]) == 2
    assert "give the folder of the study with -o" in capsys.readouterr().err
    assert run(["study", str(tmp_path / "none.yaml"), "-o", str(tmp_path / "out")]) == 2
    assert "none.yaml: no such file" in capsys.readouterr().err


def test_steps_are_shown_before_they_run_then_done_and_packed(capsys, tmp_path):
    file, out = write_study(tmp_path, SMALL), tmp_path / "out"
    command = ["study", str(file), "-o", str(out), "--only", "scores", "--only", "neurons/one/general"]
    machine = ["--device-memory", "80G", "--gpus", "2", "--tflops", "100"]
    assert run([*command, "--dry-run", *machine]) == 0
    shown = capsys.readouterr().out
    assert "scores/one/identify" in shown
    assert "2 steps; at most" in shown
    assert "in parallel on 2 GPUs" in shown
    assert not out.exists()
    assert run([*command, "--json"]) == 0
    steps = {step["step"]: step["state"] for step in json.loads(capsys.readouterr().out)["steps"]}
    assert [name for name, state in steps.items() if state == "done"] == [
        *("scores/one/identify", "neurons/one/general"),
    ]
    assert run(command) == 0
    assert "done before" in capsys.readouterr().out
    pack = tmp_path / "study.culnig.zip"
    assert run(["study", "pack", str(out), "-o", str(pack)]) == 0
    assert run(["study", "unpack", str(pack), "--verify"]) == 0
    assert "files match their checksums" in capsys.readouterr().out
    sets = [str(out / "neurons/one/general.neurons.json")] * 2
    runs = ["--run", str(out / "scores/one/identify")] * 2
    assert run(["neurons", "compare", *sets, *runs]) == 0
    shown = capsys.readouterr().out
    assert "0% of the neurons would have to move" in shown
    assert "only second" in shown


def test_a_step_that_fails_or_waits_sets_the_exit_code(capsys, tmp_path):
    file = write_study(tmp_path, SMALL.replace("model: one", "model: nobody/nothing"))
    command = ["study", str(file), "-o", str(tmp_path / "out")]
    assert run([*command, "--only", "neurons/one/general"]) == 2
    assert "waits: scores/one/identify is missing or out of date; run it too" in capsys.readouterr().err
    assert run([*command, "--only", "scores"]) == 2
    assert "scores/one/identify failed: cannot load model 'nobody/nothing'" in capsys.readouterr().err


def test_a_file_of_snakemake_is_written_once(capsys, tmp_path):
    file = write_study(tmp_path, SMALL)
    command = ["study", str(file), "--export", "snakemake", "-o", str(tmp_path / "Snakefile")]
    assert run(command) == 0
    assert run(command) == 2
    assert "add --overwrite to replace it" in capsys.readouterr().err
    assert run([*command, "--overwrite"]) == 0
