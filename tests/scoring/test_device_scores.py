"""Scoring on a device, which the tests imitate: what the host does, and the numbers of the CPU."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from transformers import AutoModelForCausalLM

from culnig import registry
from culnig.benchmarks.base import ChosenItems
from culnig.errors import NonFiniteError
from culnig.models.base import bind_model
from culnig.scoring import scaling
from culnig.scoring.run import RunSettings, score_run
from culnig.scoring.scoring import ScoreSettings, score_benchmark
from culnig.store.writer import RunWriter
from tests.fake_device import Counts, fake_device, moved
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


def test_the_host_waits_as_often_whatever_the_number_of_modules(compiled):
    launches, modules = [], []
    for n_layers in (4, 16, 64):
        bound = model_of(n_layers)
        _, counts = counted(compiled, bound, ITEMS[:4])
        assert counts
        assert max(each.waits for each in counts) <= 4
        launches.append(counts[-1].launches)
        modules.append(len(bound.layout.segments))
    print(launches, modules, counts)


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
