"""Values of unchunked datasets at their place in the file: read and written past HDF5 and the file cache.

HDF5 lets one thread in at a time and copies what it is given; the operating system takes and gives pieces as
they lie in memory, for any thread. What is stored is the same HDF5 file. Past the system's file cache too,
because filling it takes a core 0.4 to 3 s a GB: in whole blocks, where the file system allows it.
"""

from __future__ import annotations

import contextlib
import mmap
import os
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

BLOCK = 4096
"""Bytes; what goes past the cache begins and ends at a multiple, in the file and in memory."""
_LARGE_PAGE = 2 << 20


def in_one_piece() -> h5py.h5p.PropDCID:
    """How a dataset is made that has its place in the file from the start."""
    how = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    how.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    how.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    return how


def place_in_file(dataset: h5py.Dataset) -> int | None:
    """Where the values begin, in bytes; None where they are in chunks, empty or in other files."""
    how = dataset.id.get_create_plist()
    if how.get_layout() != h5py.h5d.CONTIGUOUS or how.get_external_count():
        return None
    place = dataset.id.get_offset()
    return None if place is None else int(place)


def opened_past_cache(path: Path, access: int) -> int | None:
    """A descriptor past the file cache with that access (`os.O_RDONLY`), or None where that cannot be."""
    how = getattr(os, "O_DIRECT", None)  # Linux
    try:
        return None if how is None else os.open(path, access | how)
    except OSError:  # such as a file system in memory
        return None


def large_pages(n_bytes: int) -> NDArray[np.uint8]:
    """Memory that begins at a page, in large pages where the system has them.

    Every page is a request of its own to many disks: 2.4 GB took 0.5 s in large and 0.8 s in small ones.
    """
    if not hasattr(mmap, "MADV_HUGEPAGE"):  # Linux
        return np.frombuffer(mmap.mmap(-1, n_bytes), dtype=np.uint8)
    memory = mmap.mmap(-1, n_bytes + _LARGE_PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with contextlib.suppress(OSError):  # a kernel without them
        memory.madvise(mmap.MADV_HUGEPAGE)
    whole = np.frombuffer(memory, dtype=np.uint8)
    begin = -whole.ctypes.data % _LARGE_PAGE
    return whole[begin : begin + n_bytes]
