"""Checkpoints that cannot be used, and disks that are full."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors import SafetensorError

from culnig.errors import EnvironmentProblem, StoreError
from culnig.training import trainer
from tests.stored import document_of
from tests.tiny_models import tiny_model
from tests.training.runs import plan_of, run, weights_of


@pytest.mark.parametrize("name", ["trained.safetensors", "optimizer.pt", "trainer_state.json", "complete"])
@pytest.mark.parametrize("marked_by", ["this version", "an earlier version"])
def test_a_cut_checkpoint_is_passed_over_for_the_one_before(tmp_path, name, marked_by):
    plan = plan_of(tiny_model())
    first, second = tiny_model(), tiny_model()
    expected = run(first, plan, tmp_path / "whole", save_every=1)
    run(tiny_model(), plan, tmp_path / "cut", save_every=1)
    checkpoints = tmp_path / "cut" / "checkpoints"
    if marked_by == "an earlier version":
        for mark in checkpoints.glob("*/complete"):
            mark.write_bytes(b"")
    path = checkpoints / "checkpoint-3" / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    said: list[str] = []
    resumed = run(second, plan, tmp_path / "cut", save_every=1, more={"say": said.append})
    if (name, marked_by) != ("complete", "an earlier version"):
        assert any(f"{path.parent} is passed over: " in line for line in said)
        assert "step 3 of 3" in said[-1]
    assert resumed.log == expected.log
    for name_of, weights in weights_of(first).items():
        assert torch.equal(weights, weights_of(second)[name_of])


def test_a_checkpoint_of_another_training_is_refused(tmp_path):
    bound = tiny_model()
    plan = plan_of(bound)
    run(bound, plan, tmp_path, save_every=1)
    mark = tmp_path / "checkpoints" / "checkpoint-3" / "complete"
    document = document_of(mark)
    mark.write_text(json.dumps(document | {"request": "0" * 64}))
    with pytest.raises(StoreError, match="checkpoint-3 belongs to another training"):
        run(bound, plan, tmp_path, save_every=1)


@pytest.mark.parametrize("library", ["torch", "safetensors"])
def test_a_full_disk_is_the_machines_problem(tmp_path, monkeypatch, library):
    def full(*arguments, **options):
        if library == "torch":
            raise RuntimeError(
                "[enforce fail at inline_container.cc:783] . PytorchStreamWriter failed writing"
            )
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(*("torch.save", full) if library == "torch" else (trainer, "save_file", full))
    bound = tiny_model()
    with pytest.raises(EnvironmentProblem, match=r"no space to write .*checkpoints"):
        run(bound, plan_of(bound), tmp_path, save_every=1)
