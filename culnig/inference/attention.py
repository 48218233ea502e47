"""Attention under a mask without copies of keys and values, on the CPU.

In most models several query heads share one key and value head. torch's attention on the CPU can use them
shared. transformers allows that only without a mask, because CUDA's kernels need none, and otherwise repeats
keys and values for every query head, which costs trees of prompts (`trees`) about a tenth of their time.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

SWITCH = "TRANSFORMERS_SDPA_FORCE_GQA"
"""Read by transformers at every call; versions that do not know it repeat the heads."""


@contextlib.contextmanager
def grouped_heads(device: torch.device) -> Iterator[None]:
    """Forward passes inside do not repeat keys and values, where `device` is the CPU."""
    if device.type != "cpu" or SWITCH in os.environ:
        yield
        return
    os.environ[SWITCH] = "1"
    try:
        yield
    finally:
        del os.environ[SWITCH]
