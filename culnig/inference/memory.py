"""Memory that a command frees stays with its process."""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
_MOST_KEPT = (1 << 31) - 1


def keep_freed_memory() -> None:
    """Let this process keep up to 2 GB of freed memory for the next batch, where its C library is glibc.

    The system clears pages that it hands out again, which takes 2 to 3 s per GB on a virtual machine, as long
    as the arithmetic that fills them. For commands, not for processes that do other things.
    """
    try:
        set_option = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library
        return
    set_option(_TRIM_THRESHOLD, _MOST_KEPT)
    set_option(_MMAP_MAX, 0)
