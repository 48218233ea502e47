"""Memory that a command frees stays with its process, but for the layers of a model that is spread."""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4
_MOST_KEPT = (1 << 31) - 1
_LARGE = 1 << 17
_MOST_LARGE = 1 << 16


def keep_freed_memory() -> None:
    """Let this process keep up to 2 GB of freed memory for the next batch, where its C library is glibc.

    The system clears pages that it hands out again, which takes 2 to 3 s per GB on a virtual machine, as long
    as the arithmetic that fills them. For commands, not for processes that do other things.
    """
    _set({_TRIM_THRESHOLD: _MOST_KEPT, _MMAP_MAX: 0})


def return_large_blocks() -> None:
    """Let this process return freed blocks of 128 KB and more to the system, where its C library is glibc.

    glibc begins with this bound and then raises it. Layers that are gathered and freed leave holes in its
    heap that it does not fill again (seen with 2.36), so a process grows to a multiple of the whole model.
    """
    _set({_MMAP_THRESHOLD: _LARGE, _MMAP_MAX: _MOST_LARGE})


def _set(options: dict[int, int]) -> None:
    try:
        set_option = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library
        return
    for option, value in options.items():
        set_option(option, value)
