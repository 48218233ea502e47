"""Values of unchunked datasets, read and written at their place in the file, past HDF5.

HDF5 lets one thread in at a time and copies what it is given; the operating system takes a list of pieces as
they lie in memory, from any thread. What is stored is the same HDF5 file.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

_MOST_PIECES = 512
"""Of one call; systems allow at least 1,024."""
_BLOCK = 4096
"""Bytes; what is written past the cache begins and ends at a multiple."""
_STAGING_BYTES = 4 << 20
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


class PieceWriter:
    """Writes arrays into an open file's place, past the system's file cache where the file system allows it.

    Filling the cache takes a core 0.4 to 3 s a GB, which computing would use. What is not a whole block goes
    through the cache all the same, so no block is written both ways.
    """

    def __init__(self, path: Path) -> None:
        """`path` is there already. Close it after use."""
        self._descriptor = os.open(path, os.O_WRONLY)
        self._uncached = _opened_past_cache(path)
        self._staging = _large_pages(_STAGING_BYTES)

    def write(self, place: int, pieces: Iterable[NDArray[Any]], n_bytes: int) -> None:
        """Write arrays of together `n_bytes` one after the other from `place` on. OSError: the disk refuses.

        Each is asked for when it is written: what was done with it just before left it in the CPU's cache.
        """
        views = _Views(pieces)
        end = place + n_bytes
        first, last = -(-place // _BLOCK) * _BLOCK, end // _BLOCK * _BLOCK
        if last - first >= _STAGING_BYTES // 8:
            self._write_cached(place, views.take(first - place))
            place = first
            while place < last and self._uncached is not None:
                place += self._write_past_cache(
                    self._uncached, place, views, min(last - place, _STAGING_BYTES)
                )
        self._write_cached(place, views.take(end - place))

    def _write_past_cache(self, descriptor: int, place: int, views: _Views, size: int) -> int:
        """Write the next `size` bytes of the views, whole blocks."""
        filled = 0
        for view in views.take(size):
            self._staging[filled : filled + len(view)] = np.frombuffer(view, dtype=np.uint8)
            filled += len(view)
        staged = self._staging[:size].data
        try:
            written = os.pwrite(descriptor, staged, place)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            self._close_uncached()  # it opens files so, but writes no blocks of ours
            written = 0
        if written < size:
            self._write_cached(place + written, [staged[written:]])
        return size

    def _write_cached(self, place: int, pieces: Iterable[memoryview]) -> None:
        views = list(pieces)
        while views:
            written = os.pwritev(self._descriptor, views[:_MOST_PIECES], place)
            place += written
            while views and written >= len(views[0]):
                written -= len(views.pop(0))
            if written:
                views[0] = views[0][written:]

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._descriptor)
        self._close_uncached()

    def _close_uncached(self) -> None:
        if self._uncached is not None:
            os.close(self._uncached)
        self._uncached = None


def _opened_past_cache(path: Path) -> int | None:
    """A descriptor that writes past the file cache, or None where that cannot be."""
    how = getattr(os, "O_DIRECT", None)  # Linux
    try:
        return None if how is None else os.open(path, os.O_WRONLY | how)
    except OSError:  # such as a file system in memory
        return None


def _large_pages(n_bytes: int) -> NDArray[np.uint8]:
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


class _Views:
    """The bytes of arrays that come one after the other."""

    def __init__(self, pieces: Iterable[NDArray[Any]]) -> None:
        self._pieces = iter(pieces)
        self._rest = memoryview(b"")

    def take(self, size: int) -> Iterator[memoryview]:
        """The next `size` bytes."""
        while size:
            if not self._rest:
                piece = next(self._pieces)
                self._rest = memoryview(np.ascontiguousarray(piece).data.cast("B") if piece.nbytes else b"")
                continue
            view, self._rest = self._rest[:size], self._rest[size:]
            size -= len(view)
            yield view


def expect_piece(descriptor: int, place: int, n_bytes: int) -> None:
    """Tell the system that these bytes of an open file will be read soon."""
    if hasattr(os, "posix_fadvise"):
        with contextlib.suppress(OSError, OverflowError):  # a place that no file has is told when it is read
            os.posix_fadvise(descriptor, place, n_bytes, os.POSIX_FADV_WILLNEED)


def read_cached(descriptor: int, place: int, values: NDArray[Any]) -> bool:
    """Fill a contiguous array if all of it is in the system's file cache.

    False where it is not, or the system cannot say; the array holds no meaning then.
    """
    if not hasattr(os, "RWF_NOWAIT"):  # Linux
        return False
    view = values.reshape(-1).view(np.uint8).data
    while len(view):
        try:
            read = os.preadv(descriptor, [view], place, os.RWF_NOWAIT)
        except (OSError, OverflowError):
            read = 0
        if not read:
            return False
        place += read
        view = view[read:]
    return True


def read_piece(descriptor: int, place: int, values: NDArray[Any]) -> None:
    """Fill a contiguous array from an open file's `place` on; EOFError where the file ends before."""
    view = values.reshape(-1).view(np.uint8).data
    while len(view):
        try:
            read = os.preadv(descriptor, [view], place)
        except (OSError, OverflowError):  # such as a place that no file has
            read = 0
        if not read:
            raise EOFError
        place += read
        view = view[read:]
