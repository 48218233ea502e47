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
    reason = "has no kernels for it"
    if device.type == "cuda":
        compiled, reason = usable_cuda_module(device)
        if compiled is not None:
            from culnig.kernels.cuda import CudaBackend

            return CudaBackend(compiled)
    _announce(device.type, reason)
    return TorchBackend()


def usable_cuda_module(device: torch.device) -> tuple[ModuleType | None, str]:
    """The compiled module if its kernels run on this CUDA device; else None and what the package lacks."""
    compiled = cuda_module()
    if compiled is None:
        return None, "was built without nvcc"
    if not compiled.device_available():
        return None, "finds no device"
    index = torch.cuda.current_device() if device.index is None else device.index
    if not compiled.runs_on(index):
        major, minor = torch.cuda.get_device_capability(index)
        return None, (
            f"has no kernels for {torch.cuda.get_device_name(index)} (compute capability {major}.{minor}); "
            "docs/kernels.md lists those that a build has"
        )
    return compiled, ""


@functools.cache
def _announce(device_type: str, reason: str) -> None:
    warnings.warn(
        f"scores on {device_type} are computed by eager torch operations, which is slower, because the "
        f"package {reason}",
        BackendFallbackWarning,
        stacklevel=3,
    )
