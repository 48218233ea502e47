"""Which backend serves a device."""

from __future__ import annotations

import functools
import importlib
import warnings
from types import ModuleType

import torch

from culnig.kernels.base import Backend, BackendFallbackWarning
from culnig.kernels.cpu import CpuBackend
from culnig.kernels.torch import TorchBackend


@functools.cache
def cuda_module() -> ModuleType | None:
    """The compiled CUDA module, or None if the package was built without nvcc."""
    try:
        return importlib.import_module("culnig._cuda")
    except ModuleNotFoundError:  # any other ImportError is a broken build: let it surface
        return None


def choose_backend(device: torch.device | str) -> Backend:
    """The backend for tensors on `device`; warns once where it is not the compiled one."""
    device = torch.device(device)
    if device.type == "cpu":
        return CpuBackend()
    if device.type == "cuda":
        compiled = cuda_module()
        if compiled is not None and compiled.device_available():
            from culnig.kernels.cuda import CudaBackend

            return CudaBackend(compiled)
        _announce(device.type, "was built without nvcc" if compiled is None else "finds no device")
    else:
        _announce(device.type, "has no kernels for it")
    return TorchBackend()


@functools.cache
def _announce(device_type: str, reason: str) -> None:
    warnings.warn(
        f"scores on {device_type} are computed by eager torch operations, which is slower, because the "
        f"package {reason}",
        BackendFallbackWarning,
        stacklevel=3,
    )
