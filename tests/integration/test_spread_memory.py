"""Memory of processes that a model is spread over, as the system counts it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from culnig.core.memory import keep_freed_memory
from tests.spread import loaded, on_ranks, saved
from tests.tiny_models import byte_tokenizer, tiny_model

N_LAYERS, N_PROCESSES = 16, 2


def memory(name: str) -> int:
    """Bytes of this process: `VmRSS` all, `RssFile` those of files, `VmHWM` the most since it forgot."""
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith(name)).split()[1]) << 10


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="this system counts memory otherwise")
def test_a_process_holds_its_share_and_a_few_layers(tmp_path):
    """While a model is loaded and in a backward pass, with freed memory kept as the command keeps it.

    The share is in pages of the model's files, which the system may take back and read again.
    Four layers are whole at once where gloo gathers them. Without `return_large_blocks` a process grows to
    more than twice the whole model.
    """
    torch.manual_seed(0)
    sizes = {"hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": N_LAYERS, "vocab_size": 260}
    model = LlamaForCausalLM(LlamaConfig(**sizes, num_attention_heads=4, num_key_value_heads=4))
    model.save_pretrained(tmp_path / "model", max_shard_size="15MB")
    byte_tokenizer().save_pretrained(tmp_path / "model")
    layer = sum(own.nbytes for own in model.model.layers[0].parameters())
    small = saved(tiny_model(), tmp_path / "small")
    del model

    def computed(folder):
        bound = loaded(folder, fsdp=True)
        bound.sharding.begin()
        states = torch.ones((1, 2, bound.model.config.hidden_size), requires_grad=True)
        logits = bound.model(inputs_embeds=states, use_cache=False).logits
        assert torch.autograd.grad(logits.sum(), states)[0].any()

    def work(rank):
        keep_freed_memory()
        computed(small)  # imports, and what torch keeps
        before, files = memory("VmRSS"), memory("RssFile")
        Path("/proc/self/clear_refs").write_text("5")
        computed(tmp_path / "model")
        mapped = memory("RssFile") - files
        return mapped / layer, (memory("VmHWM") - before - mapped) / layer

    for mapped, private in on_ranks(N_PROCESSES, work):
        assert mapped >= N_LAYERS / N_PROCESSES, "the share is no longer read from mapped files"
        assert private < 8
