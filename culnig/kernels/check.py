"""A check of the compiled kernels on this machine: every backend against eager torch, bit for bit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from culnig.kernels import arrays
from culnig.kernels.base import DTYPE_NAMES, Backend
from culnig.kernels.cpu import CpuBackend
from culnig.kernels.torch import TorchBackend

if TYPE_CHECKING:
    from culnig.kernels.cuda import CudaBackend

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


def check_kernels() -> list[KernelCheck]:
    """Compare the kernels that can run here with eager torch; one row per backend and case."""
    from culnig.kernels.choice import cuda_module

    rows = list(_check_backend(CpuBackend(), torch.device("cpu")))
    compiled = cuda_module()
    if compiled is not None and compiled.device_available():
        from culnig.kernels.cuda import CudaBackend

        cuda = CudaBackend(compiled)
        device = torch.device("cuda")
        rows += _check_backend(cuda, device)
        rows += _check_backend(cuda, device, tables_on_device=True)
        rows += _check_top_k(cuda, device)
    return rows


def _check_backend(
    backend: Backend, device: torch.device, *, tables_on_device: bool = False
) -> Iterator[KernelCheck]:
    for shape in SHAPES:
        for dtype, dtype_name in DTYPE_NAMES.items():
            for aggregator in arrays.AGGREGATORS:
                expected = _score(TorchBackend(), torch.device("cpu"), shape, dtype, aggregator)
                found = _score(backend, device, shape, dtype, aggregator, tables_on_device)
                case = f"score_reduce {aggregator} {dtype_name} {shape}"
                case += " tables on device" if tables_on_device else ""
                yield KernelCheck(backend.name, case, _equal(expected, found))
            expected = _token_sums(TorchBackend(), torch.device("cpu"), shape, dtype)
            found = _token_sums(backend, device, shape, dtype)
            yield KernelCheck(backend.name, f"token_sums {dtype_name} {shape}", _equal(expected, found))


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
    by_culture, by_item = (N_CULTURES, n_neurons), (n_items, n_neurons)
    tables = [
        torch.zeros(by_culture, dtype=torch.float64, device=home),
        torch.zeros(by_culture, dtype=torch.float64, device=home),
        torch.zeros(by_culture, dtype=torch.uint32, device=home),
        torch.zeros(by_item, dtype=torch.float32, device=home),
        torch.zeros(by_item, dtype=torch.int32, device=home),
    ]
    backend.score_reduce(
        activation,
        gradient,
        mask,
        torch.rand(n_items, generator=random),
        np.arange(n_items) % N_CULTURES,
        sums=tables[0],
        sums_of_squares=tables[1],
        positive_counts=tables[2],
        item_scores=tables[3],
        peak_tokens=tables[4],
        aggregator=aggregator,
        clamp_at_zero=np.arange(n_items) % 2 == 0,
    )
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
    # twice as wide, cut in half: a strided view such as a slice of a fused projection
    pair = torch.randn(2, n_items, n_tokens, 2 * n_neurons, generator=random).to(dtype)
    activation, gradient = pair.to(device)[..., n_neurons:]
    mask = torch.rand(n_items, n_tokens, generator=random) < 0.7
    mask[-1] = False
    return activation, gradient, mask


def _check_top_k(backend: CudaBackend, device: torch.device) -> Iterator[KernelCheck]:
    random = np.random.default_rng(0)
    for n_neurons, k in ((1, 1), (1000, 0), (1000, 1000), (20_000, 700)):
        for dtype in (np.float32, np.float64):
            scores = random.integers(-40, 40, (3, n_neurons)).astype(dtype)
            scores[1] = np.nan
            scores[2] = random.normal(size=n_neurons)
            expected = arrays.top_k(scores, k)
            found = backend.top_k(torch.from_numpy(scores).to(device), k).cpu().numpy()
            case = f"top_k {k} of {n_neurons} {np.dtype(dtype)}"
            yield KernelCheck(backend.name, case, bool((expected == found).all()))


def _equal(expected: list[torch.Tensor], found: list[torch.Tensor]) -> bool:
    """Equal in every bit: -0 differs from 0, and NaN equals itself."""
    return all(
        bool((a.numpy().view(np.uint8) == b.numpy().view(np.uint8)).all())
        for a, b in zip(expected, found, strict=True)
    )
