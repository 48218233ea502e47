"""Backends: the scoring kernels on torch tensors, wherever they live.

| backend | device | how |
|---|---|---|
| `cpu` | cpu | compiled, on the tensors' own memory |
| `cuda` | cuda, where the CUDA module is built | compiled, on device pointers and the current stream |
| `torch` | any other | chunks of eager operations |

All three do the arithmetic of csrc/core/score.h and give the same bits. `choose_backend` picks one;
falling back to `torch` on a CUDA device is announced once.
"""

from culnig.backends.base import Backend, BackendFallbackWarning, Table, TokenSums
from culnig.backends.check import KernelCheck, check_kernels
from culnig.backends.choice import choose_backend

__all__ = [
    "Backend",
    "BackendFallbackWarning",
    "KernelCheck",
    "Table",
    "TokenSums",
    "check_kernels",
    "choose_backend",
]
