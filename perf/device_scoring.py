"""Sections `scoring` and `repeat` of the device check: whole runs of a random model."""

from __future__ import annotations

import importlib.util
import re
import shutil
import statistics
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from device_model import DRY, WHOLE, Size, bound_model, prompts
from measuring import in_turns
from scoring import bare
from ways import captum

from culnig.benchmarks.base import ChosenItems
from culnig.core.items import Item
from culnig.inference.batches import Batch, make_batches
from culnig.inference.encoding import EncodedItem, Encoder
from culnig.kernels import choice
from culnig.kernels.base import BackendFallbackWarning
from culnig.models.base import BoundModel
from culnig.planning.plan import planned_memory
from culnig.planning.work import BenchmarkSize, run_flops
from culnig.scoring.run import score_run
from culnig.scoring.scoring import ScoreSettings
from culnig.store.run import Run

SCORING_SECONDS = 150
"""Rounds for which this leaves no time are left out."""


def scoring(dry: bool, folder: Path) -> dict[str, Any]:
    """`score_run` and other ways over the same prompts, in turns."""
    size, bound = DRY if dry else WHOLE, bound_model(dry)
    items = prompts(size.n_prompts, size.mean_tokens)
    encoded = Encoder(bound).encode_all(items)
    lengths = np.array([len(each.token_ids) for each in encoded])
    flops = run_flops(bound, [BenchmarkSize.of(encoded)])
    matmul = matmul_tflops(size.matmul, bound.input_device)
    works = ways(bound, items, encoded, size, folder)

    def before() -> None:
        shutil.rmtree(folder / "run", ignore_errors=True)
        synchronise(bound)

    seconds = in_turns(size.rounds, *works.values(), before=before, most_seconds=SCORING_SECONDS)
    timed: dict[str, Any] = {}
    for name, took in zip(works, seconds, strict=True):
        median = statistics.median(took)
        n = size.n_captum if name.startswith("captum") else len(items)
        timed[name] = {
            "seconds": [round(each, 3) for each in took],
            "items_per_second": round(n / median, 2),
            "of_matmul": round(flops * n / len(items) / median / 1e12 / matmul, 3),
        }
    if not any(name.startswith("captum") for name in works):
        timed["captum"] = {"skipped": "captum is not installed"}
    return {
        "model": {**size.shape, "dtype": str(bound.model.dtype), "neurons": bound.layout.n_neurons},
        "prompts": {
            "n": len(items),
            "mean_tokens": round(float(lengths.mean()), 1),
            "longest": int(lengths.max()),
        },
        "rounds": len(seconds[0]),
        "matmul_tflops": round(matmul, 2),
        "ways": timed,
        "host": {str(budget): host_work(bound, items, encoded, budget, folder) for budget in size.budgets},
        "memory": {str(budget): memory(bound, items, encoded, budget, folder) for budget in size.budgets},
    }


def ways(
    bound: BoundModel, items: list[Item], encoded: list[EncodedItem], size: Size, folder: Path
) -> dict[str, Callable[[], object]]:
    """What is timed, by name."""
    made: dict[str, Callable[[], object]] = {}
    for budget in size.budgets:
        made[f"bare passes, {budget} tokens"] = partial(bare_passes, bound, make_batches(encoded, budget))
        made[f"score_run, {budget} tokens"] = partial(score, bound, items, budget, folder)
    made["score_run, eager torch"] = partial(by_eager_torch, bound, items, size.budgets[0], folder)
    if importlib.util.find_spec("captum") is not None:
        made[f"captum, {size.n_captum} prompts"] = partial(captum, bound, "", items[: size.n_captum], folder)
    return made


def bare_passes(bound: BoundModel, batches: list[Batch]) -> None:
    """Forward and backward passes, and nothing else, to their end."""
    bare(bound, batches)
    synchronise(bound)


def score(bound: BoundModel, items: list[Item], budget: int, folder: Path) -> Run:
    """A whole run into a folder."""
    chosen = {"questions": ChosenItems("target", "identify", items, {})}
    settings = ScoreSettings(token_budget=budget)
    run = score_run(bound, chosen, settings, folder / "run", overwrite=True)
    synchronise(bound)
    return run


def by_eager_torch(bound: BoundModel, items: list[Item], budget: int, folder: Path) -> None:
    """The same without the compiled CUDA kernels."""
    with mock.patch.object(choice, "cuda_module", return_value=None), warnings.catch_warnings():
        warnings.simplefilter("ignore", BackendFallbackWarning)
        score(bound, items, budget, folder)


def synchronise(bound: BoundModel) -> None:
    """Wait for the device."""
    if bound.input_device.type == "cuda":
        torch.cuda.synchronize()


def matmul_tflops(n: int, device: torch.device) -> float:
    """10¹² operations per second of a square product in the model's format: the ceiling of the passes."""
    dtype = torch.float32 if device.type == "cpu" else torch.bfloat16
    left, right = torch.randn(2, n, n, device=device, dtype=dtype)
    took = []
    for _ in range(6):
        if device.type == "cuda":
            torch.cuda.synchronize()
        begun = time.perf_counter()
        left @ right
        if device.type == "cuda":
            torch.cuda.synchronize()
        took.append(time.perf_counter() - begun)
    return 2 * n**3 / statistics.median(took[1:]) / 1e12


def host_work(
    bound: BoundModel, items: list[Item], encoded: list[EncodedItem], budget: int, folder: Path
) -> dict[str, Any]:
    """Synchronisations, copies and launches per batch, as torch's profiler sees them."""
    n = max(1, len(items) // 8)
    n_batches = len(make_batches(encoded[:n], budget))
    activities = [torch.profiler.ProfilerActivity.CPU]
    if bound.input_device.type == "cuda":
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=activities) as profile:
        score(bound, items[:n], budget, folder)
    counts = {"synchronisations": 0, "copies": 0, "launches": 0}
    for event in profile.key_averages():
        if re.match(r"cuda(Stream|Device|Event)Synchronize|cudaMemcpy$", event.key):
            counts["synchronisations"] += event.count
        elif event.key.startswith("cudaMemcpy"):
            counts["copies"] += event.count
        elif "LaunchKernel" in event.key:
            counts["launches"] += event.count
    per_batch = {f"{name}_per_batch": round(count / n_batches, 1) for name, count in counts.items()}
    return {"batches": n_batches, "modules": len(bound.linears), **per_batch}


def memory(
    bound: BoundModel, items: list[Item], encoded: list[EncodedItem], budget: int, folder: Path
) -> dict[str, Any]:
    """Peak bytes on the device against those planned; only the plan without a device."""
    on_device = bound.input_device.type == "cuda"
    sizes = {"questions": BenchmarkSize.of(encoded)}
    planned = planned_memory(bound, sizes, token_budget=budget, on_device=on_device).peak
    if not on_device:
        return {"planned": planned, "measured": None, "measured_of_planned": None}
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    score(bound, items, budget, folder)
    peak = torch.cuda.max_memory_allocated()
    return {"planned": planned, "measured": peak, "measured_of_planned": round(peak / planned, 3)}


def repeat(dry: bool, folder: Path) -> dict[str, Any]:
    """Two equal runs in one process."""
    size, bound = DRY if dry else WHOLE, bound_model(dry)
    items = prompts(size.n_repeat, size.mean_tokens)
    sums = [score(bound, items, size.budgets[0], folder).moments("questions").sum for _ in range(2)]
    return compared(*sums)


def compared(first: Any, second: Any) -> dict[str, Any]:
    """Whether two tables have the same bits, and their largest difference in units of the largest sum."""
    difference = float(np.abs(first - second).max() / np.abs(first).max())
    return {"same_bits": first.tobytes() == second.tobytes(), "largest_relative_difference": difference}
