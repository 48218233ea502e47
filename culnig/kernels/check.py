"""A check of the compiled kernels on this machine: every backend against eager torch, bit for bit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch

from culnig.kernels.arguments import AGGREGATORS, DTYPES, TABLE_DTYPES, ScoreBatch, ScoreTables
from culnig.kernels.base import Backend
from culnig.kernels.cpu import CpuBackend
from culnig.kernels.torch import TorchBackend

SHAPES = ((1, 1, 1), (3, 17, 130), (2, 65, 1024), (4, 7, 2051))
"""Shapes (item, token, neuron), from trivial to awkward."""

N_CULTURES = 3


class KernelCheck(NamedTuple):
    """One comparison."""

    backend: str
    """`cpu`, `cuda` …"""
    case: str
    """Kernel, aggregator, dtype and shape."""
    agrees: bool
    """Whether every output equals the reference in every bit."""
    reason: str = ""
    """Why the backend cannot run on a device that is here; then it does not agree."""


def check_kernels() -> list[KernelCheck]:
    """Compare the kernels of every device here with eager torch; one row per backend and case.

    A CUDA device on which the compiled kernels cannot run has one row, with the reason.
    """
    rows = list(_check_backend(CpuBackend(), torch.device("cpu")))
    for index in range(torch.cuda.device_count()):
        rows += _check_cuda(torch.device("cuda", index))
    return rows


def _check_cuda(device: torch.device) -> Iterator[KernelCheck]:
    from culnig.kernels.choice import usable_cuda_module
    from culnig.kernels.cuda import CudaBackend

    compiled, reason = usable_cuda_module(device)
    if compiled is None:
        yield KernelCheck("cuda", f"every kernel on {device}", False, f"the package {reason}")
        return
    cuda = CudaBackend(compiled)
    for tables_on_device in (False, True):
        for row in _check_backend(cuda, device, tables_on_device=tables_on_device):
            yield row._replace(case=f"{row.case} on {device}")


def _check_backend(
    backend: Backend, device: torch.device, *, tables_on_device: bool = False
) -> Iterator[KernelCheck]:
    for shape in SHAPES:
        for name in DTYPES:
            dtype = getattr(torch, name)
            for aggregator in AGGREGATORS:
                expected = _score(TorchBackend(), torch.device("cpu"), shape, dtype, aggregator)
                scored = _score(backend, device, shape, dtype, aggregator, tables_on_device)
                case = f"score_reduce {aggregator} {name} {shape}"
                case += ", tables on device" if tables_on_device else ""
                yield KernelCheck(backend.name, case, _equal(expected, scored))
            expected = _token_sums(TorchBackend(), torch.device("cpu"), shape, dtype)
            sums = _token_sums(backend, device, shape, dtype)
            yield KernelCheck(backend.name, f"token_sums {name} {shape}", _equal(expected, sums))


def _score(
    backend: Backend,
    device: torch.device,
    shape: tuple[int, int, int],
    dtype: torch.dtype,
    aggregator: str,
    tables_on_device: bool = False,
) -> list[torch.Tensor]:
    n_items, _, n_neurons = shape
    random = torch.Generator().manual_seed(0)
    activation, gradient, mask = _pair(random, device, shape, dtype)
    home = device if tables_on_device else torch.device("cpu")
    tables = [
        torch.zeros(rows, n_neurons, dtype=getattr(torch, dtype), device=home)
        for rows, dtype in zip((N_CULTURES,) * 3 + (n_items,) * 2, TABLE_DTYPES.values(), strict=True)
    ]
    batch = ScoreBatch(
        mask,
        torch.rand(n_items, generator=random),
        np.arange(n_items) % N_CULTURES,
        np.arange(n_items) % 2 == 0,
    )
    backend.score_reduce(activation, gradient, batch, ScoreTables(*tables), aggregator)
    return [table.cpu() for table in tables]


def _token_sums(
    backend: Backend, device: torch.device, shape: tuple[int, int, int], dtype: torch.dtype
) -> list[torch.Tensor]:
    pair = _pair(torch.Generator().manual_seed(0), device, shape, dtype)
    return [table.cpu() for table in backend.token_sums(*pair)]


def _pair(
    random: torch.Generator, device: torch.device, shape: tuple[int, int, int], dtype: torch.dtype
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Activation, gradient and mask; the last item has no real token."""
    n_items, n_tokens, n_neurons = shape
    # columns of wider rows: a strided view such as a slice of a fused projection
    pair = torch.randn(2, n_items, n_tokens, 2 * n_neurons, generator=random).to(dtype)
    activation, gradient = pair.to(device)[..., n_neurons:]
    mask = torch.rand(n_items, n_tokens, generator=random) < 0.7
    mask[-1] = False
    return activation, gradient, mask


def _equal(expected: list[torch.Tensor], computed: list[torch.Tensor]) -> bool:
    """Equal in every bit: -0 differs from 0, and NaN equals itself."""
    return all(
        bool((a.numpy().view(np.uint8) == b.numpy().view(np.uint8)).all())
        for a, b in zip(expected, computed, strict=True)
    )
