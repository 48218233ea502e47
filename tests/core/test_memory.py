"""Memory that the commands free stays with them, but for large blocks where they ask for that."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

FAULTS = """
import resource, sys
import numpy as np
from culnig.core.memory import keep_freed_memory, return_large_blocks
keep_freed_memory()
if "return" in sys.argv:
    return_large_blocks()
def fill():
    for _ in range(20):
        [np.ones(1 << 17) for _ in range(64)]  # 64 MB
fill()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
fill()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(*how: str) -> int:
    done = subprocess.run([sys.executable, "-c", FAULTS, *how], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="this C library has no such option")
def test_freed_memory_is_used_again_and_not_asked_for_anew() -> None:
    kept, returned = faults(), faults("return")
    assert kept < 100 < returned / 4  # few where the system has pages of 2 MB, else some hundred thousand
