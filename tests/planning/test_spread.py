"""The plan of a model that is spread over GPUs, against a calculation by hand; no weights are read."""

from __future__ import annotations

import pytest

from culnig.errors import InputError
from culnig.planning import spread
from culnig.planning.choice import Machine
from culnig.planning.memory import BatchBytes
from culnig.planning.request import plan
from culnig.planning.spread import gathers_of, plan_spread
from culnig.planning.work import BenchmarkSize
from tests.tiny_models import tiny_model

LAYER = 24 * 24 * 2 + 24 * 12 * 2 + 3 * 24 * 40 + 2 * 24
BESIDE = 2 * 260 * 24 + 24
"""Parameters of the tiny Llama: of a layer, and of embedding, head and last norm."""
WEIGHTS = 4 * (3 * LAYER + BESIDE)
LENGTHS = [100] * 40


@pytest.fixture(scope="module")
def model():
    return tiny_model()


def planned(model, machine, monkeypatch, given=None):
    """A plan where a prompt takes 1,000 bytes, and one GPU a second for all."""
    monkeypatch.setattr(spread, "batch_bytes", lambda *given, **options: {1: BatchBytes(0, 1000.0)})
    sizes = [BenchmarkSize(1, LENGTHS)]
    return plan_spread(model, sizes, machine, 500, 100, 10**12, given, checkpointing=False)


def test_a_batch_gathers_all_weights_forward_and_the_layers_backward(model):
    gathers = gathers_of(model)
    assert gathers.forward == WEIGHTS
    assert gathers.backward == 4 * (3 * LAYER + 260 * 24)  # the embedding comes along
    assert gathers.held == WEIGHTS  # it has three layers


def test_tied_weights_are_gathered_once():
    gathers = gathers_of(tiny_model("smollm2"))
    assert gathers.forward == WEIGHTS - 4 * 260 * 24
    assert gathers.backward == 4 * 3 * LAYER


def test_each_holds_its_share_and_a_batch_takes_the_longer_of_arithmetic_and_gathers(model, monkeypatch):
    room = 500 + WEIGHTS // 4 + WEIGHTS + 4_600  # four prompts, and the rotary frequencies
    machine = Machine(int(room / 0.9) + 1, 4, tflops=1.0, link=5e-4)
    own, option = planned(model, machine, monkeypatch)
    assert 0 <= own.weights - WEIGHTS // 4 < 100
    assert (own.token_budget, own.used_budget) == (400, 400)
    assert (own.n_batches, own.busy) == (3, 10 / 12)  # ten batches for four GPUs
    assert own.received == (WEIGHTS + 4 * (3 * LAYER + 260 * 24)) * 3 // 4
    assert own.gather_seconds == pytest.approx(own.received / 5e5)
    assert own.compute_seconds == pytest.approx((1 + 256 / 400) / 4 * 12 / 10 / 3)
    assert own.gather_seconds > own.compute_seconds
    assert own.items_per_second == pytest.approx(40 / (3 * own.gather_seconds))
    assert option.launch == "torchrun --nproc-per-node 4 -m culnig score"
    assert option.time == pytest.approx(3 * own.gather_seconds)
    fast, option = planned(model, Machine(machine.memory, 4, tflops=1.0, link=10.0), monkeypatch)
    assert fast.items_per_second == pytest.approx(40 / (3 * own.compute_seconds))
    assert option.time == pytest.approx(3 * own.compute_seconds)


def test_a_token_budget_that_is_given_is_used_where_it_fits(model, monkeypatch):
    machine = Machine(10**9, 4, tflops=1.0)
    small = planned(model, machine, monkeypatch, given=100)[0]
    assert (small.used_budget, small.n_batches, small.busy) == (100, 10, 1.0)
    large = planned(model, machine, monkeypatch, given=10**12)[0]
    assert large.used_budget == large.token_budget < 10**12


def test_what_does_not_fit_has_no_time(model, monkeypatch):
    own, option = planned(model, Machine(1000, 2, tflops=1.0), monkeypatch)
    assert (own.token_budget, own.busy, own.items_per_second, option.time) == (0, None, None, None)


def test_one_gpu_is_refused(model, monkeypatch):
    with pytest.raises(InputError, match="several GPUs; give gpus=2 or more"):
        planned(model, Machine(10**9, 1), monkeypatch)


def test_the_option_is_beside_the_others(model, tmp_path):
    model.model.config.save_pretrained(tmp_path)
    document = plan(tmp_path, device_memory="1G", gpus=4, tflops=1.0, link=100.0, fsdp=True)
    assert ["--fsdp"] in [row["settings"] for row in document["options"]]
    assert document["spread"]["n_processes"] == 4
    assert plan(tmp_path, device_memory="1G", gpus=4)["spread"] is None
