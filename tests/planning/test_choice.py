"""Which settings a machine gets, with memory made up for the purpose: no model is traced."""

from __future__ import annotations

import pytest

from culnig.planning import choice
from culnig.planning.choice import Machine, fastest, find_options, relative_time, useful_budget
from culnig.planning.memory import BatchBytes

LONGEST, WEIGHTS, SPENT = 40, 1000, 60


@pytest.fixture
def memory(monkeypatch):
    """Bytes of a prompt, by checkpointing, on one device; several share all evenly."""
    of_prompt = {False: 30.0, True: 3.0}

    def batch_bytes(skeleton, n_tokens, n_devices, *, on_device, checkpointing):
        assert n_tokens == LONGEST
        return {n: BatchBytes(0, of_prompt[checkpointing] / n) for n in n_devices}

    def weight_bytes(skeleton, quantize, n_devices):
        return WEIGHTS * (0.3 if quantize == "4bit" else 1) / n_devices

    monkeypatch.setattr(choice, "batch_bytes", batch_bytes)
    monkeypatch.setattr(choice, "weight_bytes", weight_bytes)
    monkeypatch.setattr(choice, "DEVICE_SHARE", 1.0)
    return of_prompt


def options(room, n_devices=1, quantize=None, checkpointing=False, **machine):
    """Options on devices of `room` bytes, all of which can be used."""
    machine = Machine(room, n_devices, **machine)
    return find_options(None, machine, SPENT, LONGEST, quantize, checkpointing)


def settings_of(found):
    return [" ".join(option.settings) for option in found]


def test_time_is_passes_and_the_reading_of_the_weights():
    assert relative_time(256, checkpointing=False, on_device=True) == 2.0
    assert relative_time(512, checkpointing=False, on_device=True) == 1.5
    assert relative_time(512, checkpointing=True, on_device=True) == 2.25
    assert relative_time(256, checkpointing=False, on_device=True, n_processes=4) == 0.5
    assert relative_time(16, checkpointing=False, on_device=False) == 2.0
    useful = relative_time(16384, checkpointing=False, on_device=True)
    assert relative_time(10**6, checkpointing=False, on_device=True) == useful


def test_the_largest_budget_is_what_is_left_of_the_room(memory):
    plain, checkpointed, quantized, both = options(WEIGHTS + SPENT + 100)
    assert settings_of([plain, checkpointed, quantized, both]) == [
        "",
        "--gradient-checkpointing",
        "--quantize 4bit",
        "--quantize 4bit --gradient-checkpointing",
    ]
    assert plain.token_budget == 3 * LONGEST
    assert checkpointed.token_budget == 33 * LONGEST
    assert quantized.token_budget == 26 * LONGEST  # 800 bytes
    assert both.token_budget == 266 * LONGEST


@pytest.mark.parametrize(
    ("n_prompts", "checkpoints"),
    [(100, False), (13, False), (3, True), (0, True)],
)
def test_checkpointing_is_chosen_where_its_larger_batches_are_faster(memory, n_prompts, checkpoints):
    """13 prompts have 520 tokens: 1.49 against 1.57. 3 have 120: 3.1 against 1.75."""
    found = fastest(options(WEIGHTS + SPENT + 30 * n_prompts + 29))
    assert ("--gradient-checkpointing" in found.settings) is checkpoints


def test_quantization_is_chosen_only_where_nothing_else_fits(memory):
    scarce = options(WEIGHTS + SPENT + 3)
    assert [option.token_budget for option in scarce[:2]] == [0, LONGEST]
    assert scarce[2].time < scarce[1].time, "it would be faster"
    assert fastest(scarce).settings == ("--gradient-checkpointing",)
    assert fastest(options(WEIGHTS + SPENT - 1)).settings == ("--quantize 4bit",)
    assert fastest(options(10)) is None


def test_settings_that_are_asked_for_are_kept(memory):
    assert settings_of(options(2000, quantize="8bit")) == [
        "--quantize 8bit",
        "--quantize 8bit --gradient-checkpointing",
    ]
    assert settings_of(options(2000, checkpointing=True))[0] == "--gradient-checkpointing"
    assert settings_of(options(2000, on_device=False)) == ["", "--gradient-checkpointing"]


def test_every_device_gets_a_process_where_the_model_fits_on_one(memory):
    found = fastest(options(WEIGHTS + SPENT + 30_000, n_devices=4))
    assert (found.devices_each, found.n_processes, found.settings) == (1, 4, ())
    assert found.launch == "torchrun --nproc-per-node 4 -m culnig score"
    assert found.time == relative_time(16384, checkpointing=False, on_device=True) / 4


def test_a_model_that_fits_on_no_device_is_spread_over_as_few_as_hold_it(memory):
    found = options(700, n_devices=8)[0]  # half of the weights, and more prompts than are useful
    assert (found.devices_each, found.n_processes) == (2, 4)
    assert found.settings == ("--device-map auto", "--shard I/4")
    assert found.launch == "4 shards, each with 2 GPUs in CUDA_VISIBLE_DEVICES"
    assert found.token_budget == 9 * LONGEST  # (700 - 60 - 500) / 15
    whole = options(500, n_devices=3)[0]  # three devices make three processes or one
    assert (whole.devices_each, whole.launch) == (3, "")
    assert whole.settings == ("--device-map auto",)
    assert options(100, n_devices=2)[0].time is None


def test_seconds_are_those_of_the_operations(memory):
    (option, *_) = options(WEIGHTS + SPENT + 10_000)
    assert option.time == 1 + 256 / option.token_budget
    record = option.record(4 * 10**12, tflops=2.0)
    assert record["seconds"] == pytest.approx(2 * option.time)
    assert record["settings"] == []
    assert option.record(4 * 10**12, None)["seconds"] is None


def test_a_budget_that_fits_is_used_up_to_what_is_useful_and_one_prompt_at_least():
    assert useful_budget(100_000, 40) == 16384
    assert useful_budget(500, 40) == 500
    assert useful_budget(0, 40) == 40
    assert useful_budget(100_000, 20_000) == 20_000
