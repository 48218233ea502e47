"""Scoring on a device, which the tests imitate: what the host does, and the numbers of the CPU."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from culnig import registry
from culnig.benchmarks.base import ChosenItems
from culnig.errors import NonFiniteError
from culnig.kernels import choice
from culnig.kernels.base import BackendFallbackWarning
from culnig.models.base import bind_model
from culnig.scoring import scaling
from culnig.scoring.accumulator import Accumulator
from culnig.scoring.run import RunSettings, score_run
from culnig.scoring.scoring import ScoreSettings, score_benchmark
from culnig.store.run import Run
from culnig.store.writer import RunWriter
from tests.fake_device import Counts, FakeDevice, fake_device, moved
from tests.kernels.conftest import build_emulated_module, load_emulated_module
from tests.tiny_models import CONFIGS, byte_tokenizer, tiny_items

SETTINGS = ScoreSettings(token_budget=300)
ITEMS = tiny_items(7)
SCORERS = ("gradient-norm", "mean-activation", "released-code", "crispr", "log-odds")


@pytest.fixture(scope="module")
def compiled():
    return load_emulated_module(build_emulated_module())


def model_of(n_layers=3, dtype=torch.float32, gain=1.0):
    torch.manual_seed(0)
    config = deepcopy(CONFIGS["llama"])
    config.num_hidden_layers = n_layers
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").to(dtype).eval()
    with torch.no_grad():
        model.get_output_embeddings().weight.mul_(gain)
    return bind_model("tiny", model, byte_tokenizer(), registry.adapters())


def counted(compiled, bound, items=ITEMS, **options):
    """Scores from the device, and what happened in each batch."""
    counts = []
    with fake_device(compiled) as device:
        moved(bound.model)
        latest = [Counts()]

        def after_batch(batches_done, n_items):
            if batches_done > 1:
                counts.append(device.counts - latest[0])
            latest[0] = deepcopy(device.counts)

        scores = score_benchmark(bound, items, "target", SETTINGS, after_batch=after_batch, **options)
    return scores, counts


def assert_same(found, expected):
    for name in ("sum", "sum_of_squares", "positive_count", "n_items", "p_gold_sum"):
        assert getattr(found, name).tobytes() == getattr(expected, name).tobytes(), name


@pytest.mark.parametrize("n_layers", [2, 16])
def test_the_host_waits_as_often_whatever_the_number_of_modules(compiled, n_layers, monkeypatch):
    modules, add = [], Accumulator.add

    def counting(self, *pair):
        before = deepcopy(FakeDevice.active.counts)
        add(self, *pair)
        modules.append(FakeDevice.active.counts - before)

    monkeypatch.setattr(Accumulator, "add", counting)
    bound = model_of(n_layers)
    _, counts = counted(compiled, bound, ITEMS[:4])
    # answers and status; transformers itself looks once whether a row holds several texts
    assert {(each.waits, each.to_device, each.to_host) for each in counts} == {(3, 9, 2)}
    assert len(modules) == (len(counts) + 1) * len(bound.layout.segments)
    assert {(each.launches, each.waits, each.to_device, each.to_host) for each in modules} == {(1, 0, 0, 0)}


def test_scores_are_those_of_the_cpu(compiled):
    scorers = tuple(map(registry.scorer, SCORERS))
    expected = score_benchmark(model_of(), ITEMS, "control", SETTINGS, scorers=scorers)
    with fake_device(compiled):
        bound = model_of()
        moved(bound.model)
        found = score_benchmark(bound, ITEMS, "control", SETTINGS, scorers=scorers)
    assert_same(found.moments, expected.moments)
    for name in SCORERS:
        assert_same(found.scorers[name], expected.scorers[name])
    assert list(found.outcomes.predicted) == list(expected.outcomes.predicted)
    assert found.outcomes.option_probabilities.tobytes() == expected.outcomes.option_probabilities.tobytes()


@pytest.mark.parametrize("level", ["culture", "item", "token"])
def test_runs_are_those_of_the_cpu_at_every_level(compiled, level, tmp_path, monkeypatch):
    monkeypatch.setattr(RunWriter, "checkpoint_due", lambda self: True)
    chosen = {"toy": ChosenItems("target", "identify", ITEMS, {})}
    settings = RunSettings(level=level)
    expected = score_run(model_of(), chosen, SETTINGS, tmp_path / "cpu", run_settings=settings)
    with fake_device(compiled):
        bound = model_of()
        moved(bound.model)
        found = score_run(bound, chosen, SETTINGS, tmp_path / "device", run_settings=settings)
    assert_same(found.moments("toy"), expected.moments("toy"))
    if level == "item":
        assert found.item_scores("toy").tobytes() == expected.item_scores("toy").tobytes()
    if level == "token":
        for own, other in zip(found.tensor_parts("toy"), expected.tensor_parts("toy"), strict=True):
            with found.open_tensors(own) as stored, expected.open_tensors(other) as reference:
                for segment in reference.segments:
                    for values, wanted in zip(stored.pair(segment), reference.pair(segment), strict=True):
                        assert values.tobytes() == wanted.tobytes()


def test_gradients_that_overflow_are_repeated_as_on_the_cpu(compiled, monkeypatch):
    monkeypatch.setattr(scaling, "HEADROOM", 22)
    half = model_of(dtype=torch.float16, gain=8.0)
    expected = score_benchmark(half, ITEMS, "target", SETTINGS)
    found, counts = counted(compiled, model_of(dtype=torch.float16, gain=8.0))
    assert_same(found.moments, expected.moments)
    assert max(each.waits for each in counts) > 2, "a batch was repeated"


def test_an_error_names_module_layer_and_item_as_on_the_cpu(compiled):
    def broken():
        bound = model_of()

        def break_gradient(module, inputs, output):
            output.register_hook(lambda gradient: gradient / 0)

        bound.model.model.layers[1].mlp.gate_proj.register_forward_hook(break_gradient)
        return bound

    errors = []
    with pytest.raises(NonFiniteError) as error:
        score_benchmark(broken(), ITEMS, "target", SETTINGS)
    errors.append(str(error.value))
    with pytest.raises(NonFiniteError) as error:
        counted(compiled, broken())
    errors.append(str(error.value))
    assert errors[0] == errors[1]
    assert "mlp.gate_proj, layer 1" in errors[0]


@pytest.mark.parametrize("n_devices", [2, 3])
def test_neurons_may_be_spread_over_devices_in_any_order(n_devices, tmp_path, monkeypatch):
    chosen = {"toy": ChosenItems("control", "identify", ITEMS, {})}
    settings = RunSettings(level="item", scorers=(registry.scorer("gradient-norm"),))
    expected = score_run(model_of(), chosen, SETTINGS, tmp_path / "one", run_settings=settings)
    place = Accumulator.place

    def spread(self, devices, indices=None):
        homes = [torch.device("cpu"), torch.device("cpu", 0), torch.device("cpu", 1)][:n_devices]
        devices = {segment: homes[number % n_devices] for number, segment in enumerate(devices)}
        place(self, devices, indices)

    monkeypatch.setattr(Accumulator, "place", spread)
    monkeypatch.setattr(RunWriter, "checkpoint_due", lambda self: True)
    found = score_run(model_of(), chosen, SETTINGS, tmp_path / "several", run_settings=settings)
    assert_same(found.moments("toy"), expected.moments("toy"))
    of_scorer = [Run(run.folder, "gradient-norm").moments("toy") for run in (found, expected)]
    assert_same(*of_scorer)
    assert found.item_scores("toy").tobytes() == expected.item_scores("toy").tobytes()


def test_a_module_that_is_not_reached_adds_nothing(monkeypatch):
    """The buffer still holds the scores of the batch before."""
    whole = score_benchmark(model_of(), ITEMS, "target", SETTINGS)
    bound = model_of()
    left_out, batches, add = bound.layout.segments[4], [], Accumulator.add

    def skipping(self, segment, *pair):
        if self._batch not in batches:
            batches.append(self._batch)
        if segment != left_out or len(batches) == 1:
            add(self, segment, *pair)

    monkeypatch.setattr(Accumulator, "add", skipping)
    found = score_benchmark(bound, ITEMS, "target", SETTINGS)
    first = [encoded.item for encoded in batches[0].items]
    monkeypatch.undo()
    alone = score_benchmark(model_of(), first, "target", SETTINGS)
    columns = left_out.columns
    for row, culture in enumerate(found.moments.cultures):
        expected = (
            alone.moments.sum[alone.moments.cultures.index(culture)]
            if culture in alone.moments.cultures
            else np.zeros(bound.layout.n_neurons)
        )
        np.testing.assert_array_equal(found.moments.sum[row, columns], expected[columns])
    others = np.ones(bound.layout.n_neurons, dtype=bool)
    others[columns] = False
    np.testing.assert_array_equal(found.moments.sum[:, others], whole.moments.sum[:, others])


def test_without_compiled_kernels_a_device_gives_the_same(compiled, monkeypatch):
    expected = score_benchmark(model_of(), ITEMS, "target", SETTINGS)
    with fake_device(compiled):
        monkeypatch.setattr(choice, "cuda_module", lambda: None)
        choice._announce.cache_clear()
        bound = model_of()
        moved(bound.model)
        with pytest.warns(BackendFallbackWarning):
            found = score_benchmark(bound, ITEMS, "target", SETTINGS)
    assert_same(found.moments, expected.moments)
