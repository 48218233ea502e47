"""Arrays written to their place in an open file, as they lie in memory."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from culnig.store.direct import BLOCK, large_pages, opened_past_cache

_MOST_PIECES = 512
"""Of one call; systems allow at least 1,024."""
_STAGING_BYTES = 4 << 20


class PieceWriter:
    """Writes arrays into an open file's place, past the system's file cache where the file system allows it.

    Filling the cache takes a core 0.4 to 3 s a GB, which computing would use. What is not a whole block goes
    through the cache all the same, so no block is written both ways.
    """

    def __init__(self, path: Path) -> None:
        """`path` is there already. Close it after use."""
        self._descriptor = os.open(path, os.O_WRONLY)
        self._uncached = opened_past_cache(path, os.O_WRONLY)
        self._staging = large_pages(_STAGING_BYTES)

    def write(self, place: int, pieces: Iterable[NDArray[Any]], n_bytes: int) -> None:
        """Write arrays of together `n_bytes` one after the other from `place` on. OSError: the disk refuses.

        Each is asked for when it is written: what was done with it just before left it in the CPU's cache.
        """
        views = _Views(pieces)
        end = place + n_bytes
        first, last = -(-place // BLOCK) * BLOCK, end // BLOCK * BLOCK
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
