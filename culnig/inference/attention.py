"""Attention under a mask without copies of keys and values, on the CPU.

Several query heads share one key and value head in most models. torch's attention on the CPU takes them so;
transformers lets it only where there is no mask, because CUDA's kernels ask for that, and repeats keys and
values for every query head otherwise: a tenth of the time of the passes behind shared prefixes was measured.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

SWITCH = "TRANSFORMERS_SDPA_FORCE_GQA"
"""Read by transformers at every call; versions that do not know it repeat as before."""


@contextlib.contextmanager
def grouped_heads(device: torch.device) -> Iterator[None]:
    """Forward passes inside take grouped keys and values as they are, where `device` is the CPU."""
    if device.type != "cpu" or SWITCH in os.environ:
        yield
        return
    os.environ[SWITCH] = "1"
    try:
        yield
    finally:
        del os.environ[SWITCH]
