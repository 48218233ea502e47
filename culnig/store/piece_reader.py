"""Bytes read from their place in an open file, by several threads, in the way that is quickest now."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from culnig.store.direct import BLOCK, large_pages, opened_past_cache

_TRIAL_BYTES = 64 << 20
"""So much of a disk is read past the cache before its speed is judged."""
_FAST = 5e8
"""Bytes a second. Filling the cache takes a core 0.4 to 3 s a GB, and reading again at this speed 2."""
_ALIGNED = 16
"""Bytes; numbers at another place in memory would be copied by those who use them."""


def room_for(n_bytes: int) -> NDArray[np.uint8]:
    """Memory for `PieceReader.read` with so many bytes, or less, wherever they lie in the file."""
    return large_pages((n_bytes // BLOCK + 2) * BLOCK)


class PieceReader:
    """Reads an open file from any thread.

    Out of the system's file cache for as long as everything is there; then past the cache, which is left to
    those who come back for what they put there; through it where the file system knows no other way, or the
    disk is slow, so that reading a second time is quick.
    """

    def __init__(self, descriptor: int) -> None:
        """Of a file open for reading, which stays open until this is closed."""
        self._descriptor = descriptor
        self._uncached = opened_past_cache(Path(f"/proc/self/fd/{descriptor}"), os.O_RDONLY)
        self._goes_past = True
        self.all_cached = True
        """Whether everything that was read so far was in the cache."""
        self._disk = _disk(os.fstat(descriptor).st_dev)

    def close(self) -> None:
        """Let go of what was opened beside the file. No other thread may be reading."""
        if self._uncached is not None:
            os.close(self._uncached)
        self._uncached = None

    def read(self, place: int, n_bytes: int, room: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The bytes from a place in the file on, in `room` (`room_for` that many, or more).

        EOFError where the file ends before, OSError where the disk fails.
        """
        found = room[:n_bytes]
        self.all_cached = self.all_cached and self._read_cached(place, found)
        if self.all_cached:
            return found
        begin = place % BLOCK
        there = self._read_past_cache(place - begin, begin + n_bytes, room) - begin
        if there >= n_bytes and begin % _ALIGNED == 0:
            return room[begin : begin + n_bytes]
        there = max(0, there)
        ctypes.memmove(room.ctypes.data, room.ctypes.data + begin, there)
        if not self._fill(place + there, found[there:]):
            raise EOFError
        return found

    def _read_cached(self, place: int, found: NDArray[np.uint8]) -> bool:
        """Fill `found` if all of it is in the cache. Else, or if the system cannot say, it means nothing."""
        return hasattr(os, "RWF_NOWAIT") and self._fill(place, found, os.RWF_NOWAIT)  # Linux

    def _read_past_cache(self, place: int, n_bytes: int, room: NDArray[np.uint8]) -> int:
        """Fill `room` from a block of the file on, and say how many of the bytes are there then."""
        if self._uncached is None or not self._goes_past or not self._disk.is_fast:
            return 0
        blocks = room[: -(-n_bytes // BLOCK) * BLOCK]
        try:
            with self._disk.reads(n_bytes):
                return min(n_bytes, os.preadv(self._uncached, [blocks.data], place))
        except (OSError, OverflowError):  # opened so, but not read in blocks of ours
            self._goes_past = False
            return 0

    def _fill(self, place: int, found: NDArray[np.uint8], flags: int = 0) -> bool:
        """Fill `found`; False where there is not so much, in the file or, if the flags ask so, at once."""
        view = found.data
        while len(view):
            try:
                read = os.preadv(self._descriptor, [view], place, flags)
            except OverflowError:
                return False
            except OSError as error:
                if error.errno != errno.EINVAL and not flags:  # a place that no file has
                    raise
                return False
            if not read:
                return False
            place += read
            view = view[read:]
        return True


class _Disk:
    """How fast a disk gives what is read past the file cache, by the time in which it was asked for any."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._n_reading = 0
        self._n_bytes = 0
        self._seconds = 0.0
        self._counted_to = 0.0

    @property
    def is_fast(self) -> bool:
        """Whether reading again takes no longer than filling the cache does, or that is not known yet."""
        with self._lock:
            return self._n_bytes < _TRIAL_BYTES or self._n_bytes >= _FAST * self._seconds

    @contextlib.contextmanager
    def reads(self, n_bytes: int) -> Iterator[None]:
        """Count a read."""
        self._count(+1, 0)
        try:
            yield
        finally:
            self._count(-1, n_bytes)

    def _count(self, reading: int, n_bytes: int) -> None:
        with self._lock:
            now = time.perf_counter()
            if self._n_reading:
                self._seconds += now - self._counted_to
            self._counted_to = now
            self._n_reading += reading
            self._n_bytes += n_bytes


_disk = functools.cache(lambda device: _Disk())
"""By its number."""
