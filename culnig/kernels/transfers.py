"""Copies between host and device that nobody waits for until the values are needed."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray


def to_device(values: NDArray[Any] | torch.Tensor, device: torch.device) -> torch.Tensor:
    """Host values on the device, in the order of its stream; on the CPU the same memory.

    Only a copy from pinned memory does not make the host wait.
    """
    host = (
        values if isinstance(values, torch.Tensor) else torch.from_numpy(np.require(values, requirements="W"))
    )
    if device.type != "cuda":
        return host.to(device)
    return host.pin_memory().to(device, non_blocking=True)


class HostCopy:
    """A tensor on its way to the host, in pinned memory; on the CPU the tensor itself."""

    def __init__(self, tensor: torch.Tensor) -> None:
        """Begin the copy, after all work on the tensor so far."""
        self._event: Any = None
        if tensor.device.type != "cuda":
            self._tensor = tensor.cpu()
            return
        self._tensor = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
        self._tensor.copy_(tensor, non_blocking=True)
        self._event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        self._event.record(torch.cuda.current_stream(tensor.device))

    def numpy(self) -> NDArray[Any]:
        """The values; waits for the copy, from any thread."""
        if self._event is not None:
            self._event.synchronize()
        array: NDArray[Any] = self._tensor.numpy()
        return array
