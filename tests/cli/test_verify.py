"""`culnig-engine verify`: kernels and models, and its exit codes."""

from __future__ import annotations

import pytest
import torch

from culnig import backends
from culnig.backends import KernelCheck
from culnig.verification.verify import CHECKS, verify_model
from tests.tiny_models import tiny_model


def test_kernels_that_run_here_agree(culnig):
    done = culnig("verify", "--kernels", "--json")
    assert done.code == 0, done.err
    assert done.json["passed"] is True
    assert {row["backend"] for row in done.json["kernels"]} >= {"cpu"}
    assert all(row["passed"] for row in done.json["kernels"])


def test_a_kernel_that_differs_is_named_and_exits_with_one(culnig, monkeypatch):
    monkeypatch.setattr(backends, "check_kernels", lambda: [KernelCheck("cpu", "max, float32", False)])
    done = culnig("verify", "--kernels")
    assert done.code == 1
    assert "different: cpu, max, float32" in done.out


def test_a_sound_model_passes_every_check(culnig, model_folder):
    done = culnig("verify", "--model", model_folder, "--device", "cpu", "--json")
    assert done.code == 0, done.err
    assert len(done.json["checks"]) == len(CHECKS)
    assert all(row["passed"] for row in done.json["checks"])


@pytest.mark.parametrize("family", ["phi3", "gpt2"])
def test_fused_families_pass(family):
    assert [check.name for check in verify_model(tiny_model(family)) if check.passed is False] == []


def test_a_model_whose_outputs_change_from_call_to_call_fails():
    bound = tiny_model()
    calls = iter(range(1, 10_000))

    def drift(module, inputs, output):
        return output + 0.05 * next(calls) * torch.ones_like(output)

    bound.model.model.layers[1].register_forward_hook(drift)
    assert any(check.passed is False for check in verify_model(bound))


def test_nothing_to_verify_is_a_usage_error(culnig):
    done = culnig("verify")
    assert done.code == 2
    assert "--kernels" in done.err
