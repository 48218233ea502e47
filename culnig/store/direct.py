"""Values of unchunked datasets, read and written at their offset in the file, without HDF5.

HDF5 admits one thread at a time and copies what it is given; the operating system serves any thread, from and
into the caller's memory. The file stays an ordinary HDF5 file. Reading also bypasses the system's file
cache, because filling it takes a core about 0.3 s per GB (docs/store.md). Windows reads and writes only where
an open file stands, so threads take turns there, through its cache.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import mmap
import os
import threading
import weakref
from collections.abc import Iterable
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

_BLOCK = 4096
"""Bytes; reads that bypass the cache begin and end at a multiple of this, in the file and in memory."""
_LARGE_PAGE = 2 << 20

_at_offsets = threading.Lock()
"""Held from moving an open file to an offset until it is read or written there."""


def contiguous() -> h5py.h5p.PropDCID:
    """Properties of a dataset whose values have a fixed offset in the file from the start."""
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    properties.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    return properties


def offset_in_file(dataset: h5py.Dataset) -> int | None:
    """Offset of the first value in bytes; None for a dataset in chunks, empty, or stored in another file."""
    properties = dataset.id.get_create_plist()
    if properties.get_layout() != h5py.h5d.CONTIGUOUS or properties.get_external_count():
        return None
    offset = dataset.id.get_offset()
    return None if offset is None else int(offset)


def new_buffer(n_bytes: int) -> NDArray[np.uint8]:
    """Memory for `DirectReader.read` of `n_bytes`: whole blocks, in large pages if the system has them."""
    size = (n_bytes // _BLOCK + 2) * _BLOCK
    private = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_PRIVATE") else {}
    memory = mmap.mmap(-1, size + _LARGE_PAGE, **private)
    if hasattr(mmap, "MADV_HUGEPAGE"):  # Linux
        with contextlib.suppress(OSError):
            memory.madvise(mmap.MADV_HUGEPAGE)
    whole = np.frombuffer(memory, dtype=np.uint8)
    begin = -whole.ctypes.data % _LARGE_PAGE
    return whole[begin : begin + size]


class DirectReader:
    """Reads an open file from any thread, if possible without the file cache."""

    def __init__(self, descriptor: int) -> None:
        """Of a file that stays open."""
        self._descriptor = descriptor
        self._uncached: int | None = None
        with contextlib.suppress(OSError, AttributeError):  # a file system in memory; not Linux
            self._uncached = os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY | os.O_DIRECT)
            weakref.finalize(self, os.close, self._uncached)

    def read(self, offset: int, n_bytes: int, buffer: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The bytes from `offset` on, in `buffer` (a `new_buffer` of that size); errors as in `read_at`."""
        before = offset % _BLOCK
        blocks = buffer[: -(-(before + n_bytes) // _BLOCK) * _BLOCK]
        n_read = 0
        if self._uncached is not None:
            with contextlib.suppress(OSError, OverflowError):  # no such offset, or no blocks of this size
                n_read = _read_into(self._uncached, blocks.data, offset - before)
        if n_read < before + n_bytes:
            read_at(self._descriptor, offset, buffer[:n_bytes])
        elif before:  # HDF5 aligns nothing, and unaligned numbers would be copied again by every user
            ctypes.memmove(buffer.ctypes.data, buffer.ctypes.data + before, n_bytes)
        return buffer[:n_bytes]


def read_at(descriptor: int, offset: int, values: NDArray[np.uint8]) -> None:
    """Fill `values` with the bytes from `offset` on; from any thread.

    EOFError if the file ends too early, OSError if the disk fails.
    """
    view = values.data
    while view:
        try:
            n_read = _read_into(descriptor, view, offset)
        except OverflowError:  # an offset that no file has
            n_read = 0
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            n_read = 0
        if not n_read:
            raise EOFError
        offset += n_read
        view = view[n_read:]


def write_at(descriptor: int, offset: int, arrays: Iterable[NDArray[Any]]) -> None:
    """Write arrays one after the other from `offset` on. OSError if the disk refuses.

    Each array is requested only when it is written, so that it is still in the CPU's cache from hashing.
    """
    for array in arrays:
        view = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
        while view:
            n_written = _write_from(descriptor, view, offset)
            offset += n_written
            view = view[n_written:]


def bytes_at(descriptor: int, n_bytes: int, offset: int) -> bytes:
    """At most so many bytes from an offset on; fewer at the end of the file."""
    if hasattr(os, "pread"):
        return os.pread(descriptor, n_bytes, offset)
    with _at_offsets:
        os.lseek(descriptor, offset, os.SEEK_SET)
        return os.read(descriptor, n_bytes)


def _read_into(descriptor: int, view: memoryview, offset: int) -> int:
    """Read into memory once; returns how many bytes the system gave."""
    if hasattr(os, "preadv"):
        return os.preadv(descriptor, [view], offset)
    content = bytes_at(descriptor, len(view), offset)
    view[: len(content)] = content
    return len(content)


def _write_from(descriptor: int, view: memoryview, offset: int) -> int:
    """Write from memory once; returns how many bytes the system took."""
    if hasattr(os, "pwritev"):
        return os.pwritev(descriptor, [view], offset)
    with _at_offsets:
        os.lseek(descriptor, offset, os.SEEK_SET)
        return os.write(descriptor, view)
