"""The token budget of a run that is given none, with free memory of a device that is not there."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

import culnig
from culnig.core.processes import ALONE, Processes
from culnig.errors import MismatchError
from culnig.planning import budget
from culnig.planning.budget import default_budget, run_budget
from culnig.planning.memory import DEVICE_SHARE, plan_memory
from culnig.planning.work import BenchmarkSize
from culnig.scorers.builtin import MeanActivation
from culnig.scoring.run import RunSettings
from tests.planning.test_tracing import skeleton
from tests.tiny_models import tiny_model

SIZES = {"toy": BenchmarkSize(3, [20, 50]), "other": BenchmarkSize(1, [10])}


class OnDevices:
    """A loaded model as far as a budget needs it: parameters on CUDA devices, and its skeleton."""

    def __init__(self, *indices):
        self.model, self.skeleton, self.sharding = self, skeleton("llama"), None
        self.devices = [torch.device("cuda", index) for index in indices]

    def parameters(self):
        return [type("Parameter", (), {"device": device}) for device in self.devices]


@pytest.fixture
def free(monkeypatch):
    """Free bytes of each device, as CUDA says them; torch holds 1,000 more, of which 400 are in use."""
    free = {}
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free[device.index], 10**12))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 1000)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 400)
    return free


def chosen(bound, folder, processes=ALONE, lines=None, **settings):
    say = (lambda line: None) if lines is None else lines.append
    return default_budget(bound, SIZES, RunSettings(**settings), folder, processes, say)


def test_a_batch_of_the_default_budget_fits_into_free_memory_and_little_more_does(tmp_path, free):
    free[0], lines = 40_000_000, []
    found = chosen(OnDevices(0), tmp_path / "run", lines=lines)

    def peak(n_items):
        memory = plan_memory(skeleton("llama"), n_items, 50, 3, on_device=True)
        return memory.device_peak - memory.weights  # they are there already

    room = (40_000_000 + 1000 - 400) * DEVICE_SHARE
    assert found % 50 == 0
    assert peak(found // 50) <= room < peak(int(1.1 * found / 50) + 1)
    assert lines == [f"token budget {found:,}, for 40.00 MB of free memory"]


def test_the_default_is_bounded_by_what_is_useful_and_by_one_prompt(tmp_path, free):
    free[0] = 10**12
    assert chosen(OnDevices(0), tmp_path) == 16384
    free[0] = 1000
    assert chosen(OnDevices(0), tmp_path) == 50


def test_checkpointing_leaves_room_for_more_and_tables_for_less(tmp_path, free):
    free[0] = 20_000_000
    plain = chosen(OnDevices(0), tmp_path)
    assert chosen(OnDevices(0), tmp_path, gradient_checkpointing=True) > 1.5 * plain
    assert chosen(OnDevices(0), tmp_path, scorers=(MeanActivation(),) * 400) < plain


def test_the_fullest_of_several_devices_decides(tmp_path, free):
    free.update({0: 20_000_000, 1: 10_000_000})
    lines = []
    found = chosen(OnDevices(0, 1, 1), tmp_path, lines=lines)
    assert lines == [f"token budget {found:,}, for 10.00 MB of free memory on each device"]
    free[0] = 10_000_000
    assert chosen(OnDevices(0, 1), tmp_path) == found


def test_processes_of_a_launch_agree_on_the_smallest(tmp_path, free, monkeypatch):
    free[0] = 40_000_000
    monkeypatch.setattr(Processes, "least", lambda self, number: min(number, 100))
    assert chosen(OnDevices(0), tmp_path, Processes(1, 2)) == 100


def test_shards_on_any_device_have_one_budget(tmp_path, free):
    lines = []
    assert chosen(OnDevices(0), tmp_path, Processes(1, 2, is_shard=True), lines) == 2048
    assert lines == ["token budget 2,048: shards must agree, so free memory does not decide"]


def test_a_model_that_was_not_loaded_by_name_and_a_cpu_have_the_fixed_budget(tmp_path, free):
    bound, lines = OnDevices(0), []
    bound.skeleton = None
    assert chosen(bound, tmp_path, lines=lines) == 2048
    assert "not loaded by name" in lines[0]
    assert chosen(tiny_model(), tmp_path) == 2048


def test_a_resumed_run_keeps_its_budget(tmp_path, monkeypatch):
    """A device with other free memory, or another default, would cut other batches."""
    bound = tiny_model()
    chosen = {"limit": 3, "benchmarks": "everyday", "prompt_date": "2026-01-01"}
    monkeypatch.setattr(budget, "DEFAULT_TOKEN_BUDGET", 500)
    run = culnig.score(bound, out=tmp_path / "run", **chosen)
    assert run.record["settings"]["token_budget"] == 500
    monkeypatch.setattr(budget, "DEFAULT_TOKEN_BUDGET", 900)
    again = culnig.score(bound, out=tmp_path / "run", resume=True, **chosen)
    assert again.record["settings"]["token_budget"] == 500
    with pytest.raises(MismatchError, match="token_budget"):
        culnig.score(bound, out=tmp_path / "run", resume=True, token_budget=900, **chosen)
    assert json.loads((tmp_path / "run" / "run.json").read_text())["settings"]["token_budget"] == 500


def spread_over(n_processes, *indices):
    """A model that is spread over processes; this one computes on the first GPU, wherever its weights are."""
    bound = OnDevices(*indices)
    bound.sharding = SimpleNamespace(processes=Processes(0, n_processes), device=torch.device("cuda", 0))
    return bound


def test_processes_that_a_model_is_spread_over_get_batches_with_which_few_wait(tmp_path, free, monkeypatch):
    """Of forty prompts of 100 tokens, eight processes take five each, and two take twenty or so."""
    free[0], sizes = 10**12, {"toy": BenchmarkSize(1, [100] * 40)}
    monkeypatch.setattr(Processes, "least", lambda own, number: number)

    def of(n_processes, *indices):
        bound, processes = spread_over(n_processes, *indices), Processes(0, n_processes)
        return default_budget(bound, sizes, RunSettings(), tmp_path, processes, lambda line: None)

    assert 500 <= of(8, 0) < 600
    assert of(8) == of(8, 0)  # weights that are kept on the host
    assert 2000 <= of(2, 0) < 2200


def test_a_budget_that_is_given_is_taken_and_what_it_means_is_said(tmp_path):
    lines, sizes = [], {"toy": BenchmarkSize(1, [100] * 40)}
    asked = (spread_over(8), sizes, RunSettings(), tmp_path, Processes(0, 8), lines.append)
    assert run_budget(400, *asked) == 400
    assert len(lines) == 1
    assert lines[0].startswith("Warning: 10 batches for 8 processes, so each is busy 62% of the time")
    assert run_budget(500, *asked) == 500
    assert len(lines) == 1


def test_a_model_loaded_by_name_has_its_skeleton(tmp_path):
    bound = tiny_model()
    bound.model.save_pretrained(tmp_path)
    bound.tokenizer.save_pretrained(tmp_path)
    loaded = culnig.load_model(tmp_path, device="cpu")
    assert loaded.skeleton.layout == loaded.layout
    assert all(parameter.is_meta for parameter in loaded.skeleton.model.parameters())
    assert replace(loaded, linears=()).skeleton is loaded.skeleton
