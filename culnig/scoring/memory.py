"""Peak memory of the process and its devices; 0 where the system does not tell."""

from __future__ import annotations

import sys

import torch

try:
    import resource
except ModuleNotFoundError:  # Windows
    resource = None  # type: ignore[assignment]


def peak_bytes() -> int:
    """Peak so far: tensors on all CUDA devices where any is in use, else memory of this process."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return sum(torch.cuda.max_memory_allocated(device) for device in range(torch.cuda.device_count()))
    return status_bytes("VmHWM") or _peak_of_this_process()


def status_bytes(name: str) -> int:
    """Memory of this program as Linux counts it; 0 where the system does not say.

    `VmRSS` is all of it, `RssFile` what belongs to files, `VmHWM` the peak since this program was started.
    getrusage would report a larger peak of the process that started this one.
    """
    try:
        with open("/proc/self/status", encoding="ascii") as file:  # noqa: PTH123
            return next((int(line.split()[1]) * 1024 for line in file if line.startswith(f"{name}:")), 0)
    except OSError:
        return 0


def _peak_of_this_process() -> int:
    if resource is None:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
