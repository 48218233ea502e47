"""Memory of a process that holds a part of a model, as the system counts it (Linux).

`perf/spreading.py memory` starts this file with torchrun. The weights are random and the vocabulary is small,
so nearly all of the model is in its layers. What the process had before the model, which is Python with its
packages, is subtracted. On a CPU a share is no copy: `files` are the pages of the model's files that the
process has read, `loading` and `scoring` the most other memory.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from device_model import llama, questions, random_model, tokenizer
from rich.table import Table

from culnig import registry
from culnig.core.memory import keep_freed_memory
from culnig.core.processes import disconnect, launched
from culnig.models.loading import load_model
from culnig.models.settings import LoadSettings
from culnig.scoring.memory import status_bytes
from culnig.scoring.scoring import ScoreSettings, score_benchmark

SHAPE = llama(2048, 768, 2048, 12, 12, 12)
MEGABYTE = 1_000_000


def memory_table(processes: list[int]) -> Table:
    """Largest memory of the processes while the model is loaded, and while it is scored."""
    with tempfile.TemporaryDirectory() as folder:
        model = random_model(SHAPE, "cpu")
        model.save_pretrained(folder, max_shard_size="90MB")
        tokenizer().save_pretrained(folder)
        layer = sum(own.nbytes for own in model.model.layers[0].parameters()) / MEGABYTE
        total = sum(own.nbytes for own in model.parameters()) / MEGABYTE
        del model
        title = f"{total:,.0f} MB of weights, {layer:.1f} MB in each layer"
        headings = ("processes", "share", "files", "loading", "in layers", "scoring", "CPU seconds")
        table = Table(*headings, title=title, caption="MB of the process with most, without its packages")
        for of in processes:
            measured = _measured(folder, of)
            most = {name: max(own[name] for own in measured) for name in measured[0]}
            share, files, loading, scoring, seconds = total / of, *most.values()
            numbers = (f"{number:,.0f}" for number in (share, files, loading))
            table.add_row(str(of), *numbers, f"{loading / layer:.1f}", f"{scoring:,.0f}", f"{seconds:.0f}")
    return table


def _measured(folder: str, of: int) -> list[dict[str, float]]:
    """What each process measured."""
    with tempfile.TemporaryDirectory() as out:
        words = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(of), __file__]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        subprocess.run([sys.executable, *words, folder, out], check=True, env=environment)
        return [json.loads(path.read_text()) for path in sorted(Path(out).glob("*.json"))]


def _forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def _memory(name: str) -> float:
    """What `status_bytes` counts, in MB."""
    return status_bytes(name) / MEGABYTE


def measure(folder: str) -> tuple[int, dict[str, float]]:
    """This process's number and what it took, in MB. Pages of the model's files stay once they are read."""
    keep_freed_memory()  # as the command does
    processes = launched()
    if processes.of > 1:
        import transformers.distributed.fsdp  # noqa: F401 - before the memory is measured
    items = questions()[: processes.of]
    before, files, began = _memory("VmRSS"), _memory("RssFile"), os.times()
    _forget_peak()
    bound = load_model(folder, registry.adapters(), LoadSettings(fsdp=True))
    peak, mapped = _memory("VmHWM") - before, _memory("RssFile") - files
    _forget_peak()
    score_benchmark(bound, items, "target", ScoreSettings(token_budget=64))
    now = os.times()
    processes.wait_for_all()
    disconnect()
    return processes.number, {
        "files": mapped,
        "loading": peak - mapped,
        "scoring": _memory("VmHWM") - before - (_memory("RssFile") - files),
        "seconds": now.user + now.system - began.user - began.system,
    }


if __name__ == "__main__":
    number, measured = measure(sys.argv[1])
    (Path(sys.argv[2]) / f"{number}.json").write_text(json.dumps(measured))
