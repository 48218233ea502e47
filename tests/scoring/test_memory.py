"""Memory stays flat over many batches, and checkpointing changes it and nothing else."""

from __future__ import annotations

import gc
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from culnig.errors import InputError
from culnig.scoring.checkpointing import checkpointed
from culnig.scoring.memory import peak_bytes
from culnig.scoring.scoring import ScoreSettings, score_benchmark
from tests.scoring.toy_model import toy_bound
from tests.tiny_models import ALL_CONFIGS, tiny_items, tiny_model


def process_bytes():
    """Memory that this process holds now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not report it")
def test_memory_is_flat_over_200_batches():
    tensors, held = [], []

    def after_batch(batches_done, n_items):
        if batches_done % 50 == 0:
            gc.collect()
            tensors.append(sum(type(thing) is torch.Tensor for thing in gc.get_objects()))
            held.append(process_bytes())

    items = tiny_items(200)
    found = score_benchmark(
        tiny_model(), items, "target", ScoreSettings(token_budget=1), after_batch=after_batch
    )
    assert found.batches_done == 200
    assert len(set(tensors)) == 1
    assert held[-1] - held[0] < 4 << 20  # the allocator's own noise


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not report it")
def test_the_peak_is_this_programs_not_that_of_the_one_that_started_it():
    small = "from culnig.scoring.memory import peak_bytes; print(peak_bytes())"
    large = f"""
import subprocess, sys
held = bytearray(b"x" * (2 << 30))
print(subprocess.run([sys.executable, "-c", {small!r}], capture_output=True, text=True).stdout)
"""
    done = subprocess.run([sys.executable, "-c", large], capture_output=True, text=True, check=True)
    assert 64 << 20 < int(done.stdout) < 1 << 30


def scores(family, **options):
    bound = tiny_model(family)
    settings = ScoreSettings(token_budget=400)
    return score_benchmark(bound, tiny_items(5), "target", settings, **options)


@pytest.mark.parametrize("family", ALL_CONFIGS)
def test_checkpointing_gives_the_same_scores(family):
    plain, checked = scores(family), scores(family, gradient_checkpointing=True)
    np.testing.assert_array_equal(checked.moments.sum, plain.moments.sum)
    np.testing.assert_array_equal(checked.outcomes.p_gold, plain.outcomes.p_gold)


def test_dropout_stays_off_while_layers_are_checkpointed():
    bound = tiny_model("gpt2")
    assert bound.model.config.resid_pdrop > 0
    modes = []
    for block in bound.model.transformer.h:
        block.mlp.register_forward_hook(lambda module, inputs, output: modes.append(module.training))
    score_benchmark(bound, tiny_items(2), "target", ScoreSettings(), gradient_checkpointing=True)
    assert set(modes) == {False}
    assert len(modes) == 3 * 3, "each layer runs twice, and once in the trial of two tokens"


def test_fewer_tensors_are_saved_for_the_backward_pass():
    def saved_bytes(**options):
        saved = []

        def pack(tensor):
            saved.append(tensor.nbytes)
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            bound = tiny_model()
            with checkpointed(bound) if options else torch.enable_grad():
                bound.model.get_input_embeddings().weight.requires_grad_(True)
                bound.model(torch.arange(2, 60)[None])
        return sum(saved)

    assert saved_bytes(checkpointing=True) < saved_bytes() / 3


def test_layers_get_their_forward_back_after_an_error():
    bound = tiny_model()
    with pytest.raises(ZeroDivisionError), checkpointed(bound):
        raise ZeroDivisionError
    assert all("forward" not in layer.__dict__ for layer in bound.model.model.layers)


def test_a_model_without_such_layers_says_so():
    with pytest.raises(InputError, match=r"no layers that transformers can checkpoint.*token_budget"):
        score_benchmark(toy_bound(), tiny_items(0), "target", ScoreSettings(), gradient_checkpointing=True)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not report it")
def test_the_peak_is_no_less_than_what_is_held():
    assert peak_bytes() > 0.9 * process_bytes() > 1 << 20  # the two are counted by different clocks
