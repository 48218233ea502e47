"""Batches, budgets, disk and the recommended settings, on a tiny model's skeleton."""

from __future__ import annotations

import tracemalloc

import pytest

from culnig.core.items import Item
from culnig.core.outcomes import Outcomes
from culnig.inference.encoding import EncodedItem
from culnig.planning.choice import Machine
from culnig.planning.memory import (
    DEVICE_SHARE,
    HOST_WORKSPACE,
    MemoryPlan,
    batch_bytes,
    item_bytes,
    plan_memory,
)
from culnig.planning.plan import largest_batch, plan_run, planned_memory
from culnig.planning.tracing import batch_flops
from culnig.planning.work import BenchmarkSize, plan_disk, run_flops
from tests.alike import token_items
from tests.planning.test_depth import skeleton

SIZE = BenchmarkSize(n_cultures=3, lengths=[10, 40, 40, 20, 30])


@pytest.fixture(scope="module")
def llama():
    return skeleton("llama", n_layers=3)


def plan(llama, machine, **options):
    return plan_run(llama, {"toy": SIZE}, machine, **options)


def test_the_largest_batch_is_the_one_with_the_most_tokens():
    assert largest_batch([SIZE], 100) == (3, 30)
    assert largest_batch([SIZE, BenchmarkSize(1, [99])], 100) == (1, 99)
    assert largest_batch([BenchmarkSize(1, [])], 100) == (1, 1)


def test_peaks_add_up_the_parts_on_device_and_host():
    parts = {"weights": 1, "activations": 2, "capture": 4, "score_tables": 8, "runtime": 16, "items": 32}
    on_host = MemoryPlan(**parts, on_device=False)
    on_device = MemoryPlan(**parts, item_scores=64, on_device=True)
    assert (on_device.device_peak, on_device.host_peak, on_device.peak) == (79, 56, 79)
    assert (on_host.device_peak, on_host.host_peak, on_host.peak) == (0, 63, 63)


def test_items_cost_what_they_cost_in_this_interpreter(llama):
    """Ids above 256 are objects of their own in CPython, as those of a real vocabulary are."""
    text = "Which of these dishes do people eat for breakfast in Spain? "

    def items(n):
        return [
            Item(f"q{i}-v1", f"q{i}", "Spain", "identify", f"{i} {text}", ("A", "B", "C", "D"), "A", "Food")
            for i in range(n)
        ]

    tracemalloc.start()  # the interpreter's own count
    try:
        made = [EncodedItem(item, tuple(map(int, ["1000"] * 16)), 1, (1, 2, 3, 4)) for item in items(2000)]
        outcomes = Outcomes.empty([each.item for each in made])
        taken = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert len(outcomes.id) == 2000
    assert item_bytes(2000, 2000 * 16) == pytest.approx(taken, rel=0.4)


def test_a_plan_says_what_the_items_cost(llama):
    sizes = {"few": BenchmarkSize(2, [10]), "many": BenchmarkSize(2, [10] * 100_000)}
    documents = [
        planned_memory(llama, {name: size}, token_budget=100, on_device=True) for name, size in sizes.items()
    ]
    assert documents[1].host_peak - documents[0].host_peak == documents[1].items - documents[0].items
    assert 100e6 < documents[1].items < 150e6


@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_batch_that_fits_fits_and_a_tenth_more_does_not(llama, checkpointing):
    room = 30_000_000
    batch = batch_bytes(llama, 50, [1], on_device=True, checkpointing=checkpointing)[1]
    most = batch.items_in(room)

    def tensors(n_items):
        memory = plan_memory(llama, n_items, 50, 3, on_device=True, checkpointing=checkpointing)
        return memory.activations + memory.capture + memory.item_scores

    assert tensors(most) <= room < tensors(int(1.1 * most) + 1)
    assert batch.items_in(1000) == 0


def test_on_the_host_the_heap_keeps_more_than_what_lives(llama):
    room, n_tokens = 1_000_000_000, 50
    host, device = (batch_bytes(llama, n_tokens, [1], on_device=there)[1] for there in (False, True))
    live = device.per_item - 384 * 4  # without a score for each of its 384 neurons
    assert host.per_item == pytest.approx(live * 4 / 3)
    assert host.items_in(room) / (room / live) == pytest.approx((1 - HOST_WORKSPACE / room) * 3 / 4, rel=0.01)


def test_a_device_of_several_holds_its_layers_the_head_and_one_layer_more():
    whole = skeleton("llama", n_layers=12)
    third, all_of_it = (plan_memory(whole, 2, 30, 3, on_device=True, n_devices=n) for n in (3, 1))
    assert third.weights == pytest.approx((1 / 3 + 1 / 12) * all_of_it.weights, rel=0.15)
    few = skeleton("llama", n_layers=5)
    assert third.activations == plan_memory(few, 2, 30, 3, on_device=True).activations
    assert third.score_tables == all_of_it.score_tables


def test_a_machine_with_room_needs_no_special_settings(llama):
    found = plan(llama, Machine(10**9, tflops=2.0))
    assert found["fits"]
    assert found["recommended"] == ["--token-budget 16384"]
    assert found["launch"] == ""
    assert found["batch"]["token_budget"] == 16384
    assert found["neurons"] == {"total": 384, "mlp": 120, "attention": 144, "all": 264}
    assert found["work"]["n_items"] == 5
    assert found["work"]["n_tokens"] == 140
    assert found["work"]["seconds"] == pytest.approx(found["work"]["flops"] / 2e12)
    assert found["options"][0]["seconds"] == pytest.approx(found["work"]["seconds"] * (1 + 256 / 16384))


def test_the_batch_is_that_of_score_unless_a_budget_is_given(llama):
    assert plan(llama, Machine(10**10, on_device=False))["batch"]["token_budget"] == 2048
    assert plan(llama, Machine(10**9), token_budget=77)["batch"] == {
        "token_budget": 77,
        "n_items": 2,
        "n_tokens": 30,
    }


def test_several_devices_are_planned_by_what_one_process_holds():
    deep = skeleton("llama", n_layers=12)
    half = plan_memory(deep, 1, 40, 3, on_device=True, n_devices=2).device_peak
    found = plan(deep, Machine(int(1.1 * half / DEVICE_SHARE), n_devices=2))
    assert found["memory"]["n_devices"] == found["options"][0]["devices_each"] == 2
    assert found["memory"]["device_peak"] == half
    assert found["fits"]
    assert found["options"][0]["settings"] == ["--device-map auto"]


def test_the_memory_of_a_run_is_that_of_its_largest_batch(llama):
    planned = planned_memory(llama, {"toy": SIZE}, token_budget=100, on_device=True)
    assert planned == plan_memory(llama, 3, 30, 3, on_device=True, items=item_bytes(5, 140))


def test_scripts_still_find_the_work_that_sharing_saved(llama):
    assert plan(llama, Machine(10**9))["work"]["saved_by_sharing"] == 0.0


def test_sizes_are_those_of_the_encoded_items():
    rows = ([7] * 9, [8] * 4)
    assert BenchmarkSize.of(token_items(*rows)) == BenchmarkSize(1, [9, 4])


def test_disk_grows_with_the_level(llama):
    disk = plan_disk(llama, [SIZE])
    assert disk.item - disk.culture == 5 * 384 * (4 + 2)
    assert disk.token - disk.culture == 140 * 384 * 2 * 4


def test_flops_of_a_run_are_those_of_its_prompts(llama):
    expected = sum(batch_flops(llama, 1, length) for length in SIZE.lengths)
    assert run_flops(llama, [SIZE]) == pytest.approx(expected, rel=0.05)
