"""Sections `bits` and `bandwidth` of the device check: the kernels alone.

python perf/device_kernels.py        one small case of each kernel, for compute-sanitizer
"""

from __future__ import annotations

import itertools
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from culnig.errors import NonFiniteError
from culnig.kernels import AGGREGATORS, DTYPES, ScoreBatch, ScoreTables
from culnig.kernels.base import Backend
from culnig.kernels.check import check_kernels
from culnig.kernels.choice import choose_backend
from culnig.kernels.torch import TorchBackend

Pair = tuple[torch.Tensor, torch.Tensor]

SANITIZER_SECONDS = 40


def bits(dry: bool, folder: Path) -> dict[str, Any]:
    """Every kernel against eager torch on the CPU."""
    backend = choose_backend("cpu" if dry else "cuda")
    rows = [(f"{row.backend}, {row.case}", row.agrees) for row in check_kernels()]
    rows += views(backend, dry)
    return {
        "cases": len(rows),
        "different": [name for name, agrees in rows if not agrees],
        "non_finite": non_finite(backend, dry),
        "compute_sanitizer": {} if dry else dict(sanitized()),
    }


def views(backend: Backend, dry: bool) -> Iterator[tuple[str, bool]]:
    """Whether results agree for misaligned and strided arrays, and on another stream."""
    random = torch.Generator().manual_seed(1)
    for name, n_neurons in itertools.product(DTYPES, (64, 131, 2051)):
        wide = torch.randn(2, 3, 37, 2 * n_neurons + 9, generator=random).to(getattr(torch, name))
        for layout, pair in {
            "offset by one": tuple(wide[..., 1 : 1 + n_neurons]),
            "token first": tuple(wide[..., :n_neurons].transpose(1, 2).contiguous().transpose(1, 2)),
            "one token": tuple(wide[:, :, :1, :n_neurons]),
        }.items():
            expected = results(TorchBackend(), (pair[0], pair[1]))
            moved = tuple(_same_strides(each, dry) for each in pair)
            for stream in ("default",) if dry else ("default", "other"):
                with _on(stream):
                    computed = results(backend, (moved[0], moved[1]))
                same = all(a.tobytes() == b.tobytes() for a, b in zip(expected, computed, strict=True))
                yield f"{layout}, {stream} stream, {name}, {n_neurons} neurons", same


def _same_strides(tensor: torch.Tensor, dry: bool) -> torch.Tensor:
    """The tensor on the device, with its strides and its offset."""
    if dry:
        return tensor
    whole = torch.empty(tensor.untyped_storage().nbytes() // tensor.element_size(), dtype=tensor.dtype)
    whole.set_(tensor.untyped_storage(), 0, whole.shape, (1,))
    return whole.cuda().as_strided(tensor.shape, tensor.stride(), tensor.storage_offset())


def _on(stream: str) -> Any:
    if stream == "default":
        return torch.no_grad()
    torch.cuda.synchronize()
    return torch.cuda.stream(torch.cuda.Stream())


def results(backend: Backend, pair: Pair) -> list[Any]:
    """Scores and peaks of all aggregators, and the sums over tokens, as numpy arrays."""
    n_items, n_tokens, n_neurons = pair[0].shape
    mask = torch.rand(n_items, n_tokens, generator=torch.Generator().manual_seed(2)) < 0.8
    made: list[Any] = []
    for aggregator in AGGREGATORS:
        tables = ScoreTables(
            item_scores=torch.empty(n_items, n_neurons),
            peak_tokens=torch.empty(n_items, n_neurons, dtype=torch.int32),
        )
        backend.score_reduce(*pair, ScoreBatch(mask), tables, aggregator)
        made += [tables.item_scores, tables.peak_tokens]
    made += [table.cpu() for table in backend.token_sums(*pair, mask)]
    return [table.numpy() for table in made]


def non_finite(backend: Backend, dry: bool) -> dict[str, Any]:
    """Count and index of NaN and infinity, expected and reported, by number format."""
    found: dict[str, Any] = {}
    for name in DTYPES:
        pair = torch.ones(2, 2, 19, 300, dtype=getattr(torch, name))
        pair[0, 1, 3, 299] = torch.nan
        pair[1, 1, 3, 7] = torch.inf
        pair[1, 1, 18, 0] = -torch.inf
        pair = pair if dry else pair.cuda()
        try:
            backend.score_reduce(
                pair[0], pair[1], ScoreBatch(torch.ones(2, 19, dtype=torch.bool)), ScoreTables(), "max"
            )
            reported = None
        except NonFiniteError as error:
            reported = [error.count, error.item, error.token, error.neuron]
        if reported != [3, 1, 3, 7]:
            raise RuntimeError(f"{name}: non-finite products reported as {reported}, not as [3, 1, 3, 7]")
        found[name] = reported
    return found


def sanitized() -> Iterator[tuple[str, str]]:
    """What compute-sanitizer says of one small case of each kernel, by its tools."""
    program = shutil.which("compute-sanitizer")
    for tool in ("memcheck", "racecheck"):
        if program is None:
            yield tool, "compute-sanitizer is not on PATH"
            continue
        command = [program, "--tool", tool, "--error-exitcode", "9", sys.executable, __file__]
        try:
            done = subprocess.run(
                command,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
                capture_output=True,
                text=True,
                timeout=SANITIZER_SECONDS,
            )
            yield tool, f"exit code {done.returncode}: {done.stdout.strip().splitlines()[-1:]}"
        except subprocess.TimeoutExpired:
            yield tool, f"not finished after {SANITIZER_SECONDS} s"


# Speed


def bandwidth(dry: bool, folder: Path) -> dict[str, Any]:
    """GB/s of a copy, counted read and written, and of each kernel, counted read."""
    shape = (2, 16, 512) if dry else (16, 128, 14336)
    sets = 2 if dry else 6  # together far more than the cache of the device
    device = "cpu" if dry else "cuda"
    backend = choose_backend(device)
    rounds = 2 if dry else 20
    kernels: dict[str, Any] = {}
    copies: dict[str, float] = {}
    for name in DTYPES:
        pairs = [torch.randn(2, *shape, device=device, dtype=getattr(torch, name)) for _ in range(sets)]
        size = pairs[0].nbytes
        target = torch.empty_like(pairs[0])
        copies[name] = (
            2 * size / seconds_of(lambda pair, to=target: to.copy_(pair), pairs, rounds, "", dry) / 1e9
        )
        for kernel in ("max", "absmax", "last", "sum", "mean", "token_sums"):
            work = _work(backend, kernel, shape, device)
            part = "token_sums_kernel" if kernel == "token_sums" else "item_scores_kernel"
            speed = size / seconds_of(work, pairs, rounds, part, dry) / 1e9
            kernels[f"{kernel} {name}"] = {"GB/s": round(speed, 1), "of_copy": round(speed / copies[name], 3)}
        del pairs, target
    return {"copy": {name: round(speed, 1) for name, speed in copies.items()}, "kernels": kernels}


def _work(
    backend: Backend, kernel: str, shape: tuple[int, ...], device: str
) -> Callable[[torch.Tensor], object]:
    mask = torch.ones(shape[:2], dtype=torch.bool)
    if kernel == "token_sums":
        return lambda pair: backend.token_sums(pair[0], pair[1], mask)
    tables = ScoreTables(item_scores=torch.empty(shape[0], shape[2], device=device))
    return lambda pair: backend.score_reduce(pair[0], pair[1], ScoreBatch(mask), tables, kernel)


def seconds_of(
    work: Callable[[torch.Tensor], object], pairs: list[torch.Tensor], rounds: int, kernel: str, dry: bool
) -> float:
    """Median seconds of the device kernels with `kernel` in their name; dry: of the call."""
    turns = [pairs[number % len(pairs)] for number in range(rounds + len(pairs))]
    if dry:
        took = []
        for pair in turns:
            begun = time.perf_counter()
            work(pair)
            took.append(time.perf_counter() - begun)
        return statistics.median(took[len(pairs) :])
    for pair in pairs:
        work(pair)
    torch.cuda.synchronize()
    activity = torch.profiler.ProfilerActivity.CUDA
    with torch.profiler.profile(activities=[activity]) as profile:
        for pair in turns:
            work(pair)
        torch.cuda.synchronize()
    names = (kernel,) if kernel else ("Memcpy DtoD", "elementwise", "copy")
    took = [
        event.device_time / 1e6
        for event in profile.events()
        if event.device_type == torch.autograd.DeviceType.CUDA and any(name in event.name for name in names)
    ]
    if len(took) < rounds:
        raise RuntimeError(f"the profiler saw {len(took)} of {rounds} calls of {kernel or 'the copy'}")
    return statistics.median(took)


if __name__ == "__main__":
    for _ in views(choose_backend("cuda"), dry=False):
        pass
    torch.cuda.synchronize()
