"""When memory ran out, and how to get it back. Scoring and evaluation go on with half a batch then."""

from __future__ import annotations

import ctypes
import gc

_CPU_ALLOCATOR = ("can't allocate memory", "not enough memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on a device or on the host."""
    import torch

    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _CPU_ALLOCATOR)


def release_memory() -> None:
    """Give back what nobody holds any more."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
_MOST_KEPT = (1 << 31) - 1


def keep_freed_memory() -> None:
    """Have this process keep up to 2 GB that it frees, for the next batch, where its C library is glibc.

    Pages that go back to the system are cleared when they come again: 2 to 3 s a GB on a virtual machine, as
    long as the arithmetic that fills them. For commands, not for processes that do other things.
    """
    try:
        set_option = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library
        return
    set_option(_TRIM_THRESHOLD, _MOST_KEPT)
    set_option(_MMAP_MAX, 0)
