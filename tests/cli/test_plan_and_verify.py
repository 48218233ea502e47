"""`plan` and `verify` as commands: tables, documents, exit codes."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from culnig.kernels.check import KernelCheck
from culnig.verification import verify
from culnig.verification.checks import Check
from culnig.verification.quick import QUICK_CHECKS
from tests.cli.conftest import score_arguments


def test_plan_prints_pools_memory_disk_and_settings(culnig, model_folder):
    result = culnig(
        *("plan", "--model", model_folder, "--benchmark", "everyday", "--per-culture", "1"),
        *("--device-memory", "24G", "--tflops", "50"),
    )
    assert result.code == 0, result.err
    words = " ".join(result.out.split())
    for expected in (
        "mlp 120",
        "attention 144",
        "capture",
        "score tables",
        "1 device of 24.00 GB: this plan fits",
    ):
        assert expected in words
    assert "Recommended: --token-budget" in words
    assert "at 50 TFLOP/s" in words


def test_plan_needs_neither_weights_nor_tokenizer(culnig, model_folder, tmp_path):
    (tmp_path / "config.json").write_bytes((model_folder / "config.json").read_bytes())
    asked = ("plan", "--model", tmp_path, "--benchmark", "everyday", "--per-culture", "1", "--json")
    document = culnig(*asked).json
    assert "no tokenizer" in document["note"]
    exact = culnig(*(model_folder if part == tmp_path else part for part in asked)).json
    assert document["neurons"] == exact["neurons"]
    assert exact["note"] == ""
    assert exact["benchmarks"] == [{"benchmark": "everyday", "n": 16, "n_questions": 1}]
    assert document["memory"]["weights"] == exact["memory"]["weights"]


def test_plan_without_a_benchmark_takes_one_batch(culnig, model_folder):
    document = culnig("plan", "--model", model_folder, "--tokens-per-item", 100, "--json").json
    assert document["batch"] == {"token_budget": 2048, "n_items": 20, "n_tokens": 100}
    assert "No benchmark was given" in document["note"]


@pytest.mark.parametrize("size", ["80Q", "much", "0G", "-3G"])
def test_an_invalid_size_is_refused(culnig, model_folder, size):
    result = culnig("plan", "--model", model_folder, f"--device-memory={size}")
    assert result.code == 2
    assert "is not a size; give a number with K, M, G or T" in result.err


def test_verify_passes_on_a_tiny_model(culnig, model_folder):
    result = culnig("verify", "--model", model_folder)
    assert result.code == 0, result.out
    assert result.out.count("  ok  ") == len(verify.CHECKS)
    assert culnig("verify", "--model", model_folder, "--json").json["passed"] is True


def test_verify_fails_with_exit_code_1(culnig, model_folder, monkeypatch):
    monkeypatch.setitem(verify.CHECKS, "masking", lambda bound: Check("masking", False, "leaks"))
    result = culnig("verify", "--model", model_folder)
    assert result.code == 1
    assert "FAILED" in result.out
    assert "leaks" in result.out


def test_a_check_that_could_not_run_is_not_a_failure(culnig, model_folder, monkeypatch):
    monkeypatch.setitem(verify.CHECKS, "masking", lambda bound: Check("masking", None, "no need"))
    result = culnig("verify", "--model", model_folder)
    assert result.code == 0
    assert "skipped" in result.out


@pytest.mark.parametrize(("agrees", "code"), [(True, 0), (False, 1)])
def test_verify_of_the_kernels(culnig, monkeypatch, agrees, code):
    rows = [
        KernelCheck("cpu", "score_reduce max float32 (1, 1, 1)", True),
        KernelCheck("cpu", "other", agrees),
    ]
    monkeypatch.setattr("culnig.kernels.check.check_kernels", lambda: rows)
    result = culnig("verify", "--kernels")
    assert result.code == code
    assert ("different: cpu, other" in result.out) is not agrees


def test_a_cuda_device_without_compiled_kernels_fails(culnig, monkeypatch):
    monkeypatch.setattr("culnig.kernels.check.SHAPES", ((1, 1, 1),))
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    monkeypatch.setattr("culnig.kernels.choice.cuda_module", lambda: None)
    result = culnig("verify", "--kernels")
    assert result.code == 1
    assert "cannot run: cuda, every kernel on cuda:0; the package was built without nvcc" in result.out


def test_verify_of_nothing_is_a_usage_error(culnig):
    result = culnig("verify")
    assert result.code == 2
    assert "nothing to verify: give --model, --kernels, or both" in result.err


# What `score` says of it afterwards


def test_score_records_planned_and_measured_memory(run_folder):
    memory = json.loads((run_folder / "run.json").read_text())["memory"]
    assert memory["planned"]["host_peak"] > 0
    assert memory["measured_peak"] > 0


def test_items_that_are_too_long_are_named_or_skipped_and_counted(culnig, model_folder, tmp_path):
    short = tmp_path / "model"
    short.mkdir()
    for path in model_folder.iterdir():
        (short / path.name).write_bytes(path.read_bytes())
    config = json.loads((short / "config.json").read_text())
    (short / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 545}))
    asked = ("score", "--model", short, "--benchmark", "country-rc", "--per-culture", "6")
    asked += ("-o", tmp_path / "run")
    refused = culnig(*asked)
    assert refused.code == 2
    assert "tokens, more than the 545 of this model" in refused.err
    assert "--skip-too-long" in refused.err
    done = culnig(*asked, "--skip-too-long", "--json")
    assert done.code == 0, done.err
    n_skipped = done.json["skipped_too_long"]["country-rc"]
    assert 0 < n_skipped < 48
    assert done.json["benchmarks"][0]["n"] == 48 - n_skipped
    assert json.loads((tmp_path / "run" / "run.json").read_text())["skipped_too_long"] == {
        "country-rc": n_skipped
    }


def test_a_model_for_which_all_are_too_long_is_refused(culnig, model_folder, tmp_path):
    short = tmp_path / "model"
    short.mkdir()
    for path in model_folder.iterdir():
        (short / path.name).write_bytes(path.read_bytes())
    config = json.loads((short / "config.json").read_text())
    (short / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 20}))
    result = culnig(
        *("score", "--model", short, "--benchmark", "everyday", "--limit", "2", "--skip-too-long"),
        *("-o", tmp_path / "run"),
    )
    assert result.code == 2
    assert "all 2 items of benchmark 'everyday' are longer than the 20 tokens" in result.err


def test_gradient_checkpointing_gives_the_same_file(culnig, model_folder, tmp_path):
    asked = ["score", "--model", model_folder, "--benchmark", "everyday", "--limit", "4"]
    assert culnig(*asked, "-o", tmp_path / "plain").code == 0
    assert culnig(*asked, "--gradient-checkpointing", "-o", tmp_path / "checked").code == 0
    assert (tmp_path / "plain" / "scores.h5").read_bytes() == (
        tmp_path / "checked" / "scores.h5"
    ).read_bytes()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--dtype", "float12"], "'float12' is not one of"),
        (["--device-map", "auto", "--device", "cpu"], "give only one of them"),
        (["--adapter", "nowhere"], "no adapter_config.json"),
    ],
)
def test_impossible_loading_options_are_refused(culnig, model_folder, tmp_path, options, message):
    result = culnig(
        *("score", "--model", model_folder, "--benchmark", "everyday", "--limit", "1", *options),
        *("-o", tmp_path / "run"),
    )
    assert result.code == 2
    assert message in result.err
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_the_plan_of_the_embedded_model_is_what_is_measured(culnig, tmp_path):
    """Memory within 20 %, disk within 5 %; the run has a process of its own, whose peak is the run's."""
    asked = ["--model", "embedded", "--benchmark", "everyday", "--per-culture", "1", "--json"]
    planned = culnig("plan", *asked).json
    done = subprocess.run(
        [sys.executable, "-m", "culnig", "score", *asked, "-o", str(tmp_path / "run")],
        capture_output=True,
        text=True,
        check=True,
    )
    scored = json.loads(done.stdout)
    measured = scored["memory"]["measured_peak"]
    assert {**scored["memory"]["planned"], "n_devices": 1} == planned["memory"]
    assert planned["memory"]["host_peak"] == pytest.approx(measured, rel=0.2)
    on_disk = sum(path.stat().st_size for path in (tmp_path / "run").iterdir())
    assert planned["disk"]["culture"] == pytest.approx(on_disk, rel=0.05)


def test_a_model_that_fails_a_check_is_refused_unless_no_check_is_given(
    culnig, model_folder, tmp_path, monkeypatch
):
    def leaking(passes):
        return Check("batches and padding", False, "scores differ by 1.0e+00 of the largest")

    monkeypatch.setitem(QUICK_CHECKS, "batches and padding", leaking)
    arguments = score_arguments(model_folder, tmp_path / "run")
    refused = culnig(*arguments)
    assert refused.code == 2
    assert "fails the check 'batches and padding': scores differ by 1.0e+00" in refused.err
    assert "--no-check goes on without them" in refused.err
    assert not (tmp_path / "run").exists()
    gone_on = culnig(*arguments, "--no-check")
    assert gone_on.code == 0
    assert "the quick checks of the model are left out" in gone_on.err
    assert json.loads((tmp_path / "run" / "run.json").read_text())["check"]["performed"] is False
