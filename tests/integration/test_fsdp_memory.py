"""Each of several processes holds its share of the weights, and a few layers while it computes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig

from culnig.planning.spread import HELD_LAYERS
from culnig.scoring.scoring import ScoreSettings, score_benchmark
from tests.spread import loaded, on_ranks
from tests.tiny_models import _SMALL, byte_tokenizer, tiny_items

pytestmark = pytest.mark.slow

N_LAYERS = 6
LAYER = 4 * (4 * 1024 * 1024 + 3 * 1024 * 3328)
"""Bytes of a layer's linear modules."""
SLACK = 40_000_000
"""Activations, what is imported on the way, and pages that the allocator keeps."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A Llama of six layers of 58 MB, and little beside them."""
    widths = {"hidden_size": 1024, "intermediate_size": 3328, "num_hidden_layers": N_LAYERS}
    heads = {"num_attention_heads": 8, "num_key_value_heads": 8}
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(LlamaConfig(**{**_SMALL, **widths, **heads}))
    model.to_empty(device="cpu")
    for parameter in model.parameters():
        torch.nn.init.constant_(parameter, 0.01)
    path = tmp_path_factory.mktemp("llama")
    model.save_pretrained(path)
    byte_tokenizer().save_pretrained(path)
    return path


def own_bytes() -> int:
    """Memory of this process that is no file's."""
    (kilobytes,) = re.findall(r"^RssAnon:\s*(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    return 1024 * int(kilobytes)


def measured(folder, **settings):
    """Bytes that loading added, and the most while a batch was scored."""
    before = own_bytes()
    bound = loaded(folder, **settings)
    after_loading = own_bytes() - before
    seen = [0]

    def look(*given):
        seen.append(own_bytes() - before)

    for linear in bound.linears:
        linear.linear.register_forward_hook(look)
        linear.linear.register_full_backward_hook(look)
    score_benchmark(bound, tiny_items(2), "target", ScoreSettings())
    return after_loading, max(seen)


@pytest.mark.parametrize("of", [2, 4])
def test_memory_falls_with_the_number_of_processes(folder, of):
    total = N_LAYERS * LAYER
    assert total > 300_000_000
    for after_loading, peak in on_ranks(of, lambda rank: measured(folder, fsdp=True)):
        print(of, after_loading / 1e6, peak / 1e6)
        assert after_loading < total / of + HELD_LAYERS * LAYER + SLACK
        assert peak < total / of + HELD_LAYERS * LAYER + SLACK
