"""HDF5 files: read without a lock of HDF5's own, written whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py

from culnig.errors import StoreError
from culnig.store.files import whole_file
from culnig.store.heap import SIGNATURE, check_heaps, record_heaps, recorded_heaps


@contextlib.contextmanager
def open_hdf5(path: Path) -> Iterator[h5py.File]:
    """An HDF5 file for reading, also where the file system has no locks.

    StoreError if another program is writing it, or if it, or anything that is read inside, is damaged.
    """
    try:
        with _opened(path) as file:
            check_heaps(file)
            yield file
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, MemoryError) as error:
        if not os.path.lexists(path):
            raise StoreError(f"{path}: no such file; it may have been moved or removed") from error
        if any(text in str(error) for text in (*_BEING_WRITTEN, _NO_LOCK)):
            raise StoreError(
                f"{path}: another program has it open for writing, or was killed while it had; close that "
                "program and try again"
            ) from error
        if isinstance(error, PermissionError):
            raise StoreError(f"{path}: cannot be read: {error.strerror}") from error
        raise StoreError(f"{path}: not a readable HDF5 file of culnig, or damaged: {error}") from error


_NO_LOCK = "unable to lock file"
_BEING_WRITTEN = ("already open for write", f"{_NO_LOCK}, errno = {errno.EAGAIN},")
"""What HDF5 says."""


def _opened(path: Path) -> h5py.File:
    """The file, locked against writers if the file system has locks."""
    try:
        return h5py.File(path, "r")
    except OSError as error:
        if _NO_LOCK not in str(error) or any(text in str(error) for text in _BEING_WRITTEN):
            raise
        return h5py.File(path, "r", locking=False)


class NewFile(h5py.File):  # type: ignore[misc]  # h5py has no types
    """An HDF5 file that is being written."""

    temporary: Path
    """Its path until it is whole."""


class _DiskFile(io.FileIO):
    """A file that HDF5 can always write to: disk errors are recorded, and hidden from HDF5.

    HDF5 does not recover from a write that fails: it cannot close the file any more and brings the process
    down at its end. So HDF5 never sees the error, and `failure` is raised after the close.
    """

    failure: OSError | None = None

    def __init__(self, path: Path, mode: str) -> None:
        super().__init__(path, mode)
        self.heaps: set[int] = set()
        """Offsets of what looks like a heap."""

    def write(self, data: Any) -> int:
        """Write all of `data`, or record the error."""
        view = memoryview(data).cast("B")
        if view[: len(SIGNATURE)] == SIGNATURE:
            self.heaps.add(self.tell())
        written = 0
        try:
            while self.failure is None and written < len(view):
                written += super().write(view[written:])
        except OSError as error:
            self.failure = error
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        """Set the size, or record the error."""
        try:
            return super().truncate(size)
        except OSError as error:
            self.failure = self.failure or error
            return size or 0


@contextlib.contextmanager
def whole_hdf5(path: Path) -> Iterator[NewFile]:
    """An HDF5 file that appears under `path` when the context ends, and not at all on any error.

    Its metadata and heaps carry checksums, so that damage to them is found on reading.
    """
    with whole_file(path) as temporary, _DiskFile(temporary, "w+b") as target:
        with NewFile(target, "w", libver="v110") as file:
            file.temporary = temporary
            yield file
            record_heaps(file, target.fileno(), target.heaps)
        if target.failure is not None:
            raise target.failure


@contextlib.contextmanager
def changed_copy(source: Path, target: Path) -> Iterator[h5py.File]:
    """A copy of an HDF5 file, open for changes; it appears under `target` when the context ends."""
    with whole_file(target) as temporary:
        shutil.copyfile(source, temporary)
        with _DiskFile(temporary, "r+b") as copy:
            with h5py.File(copy, "r+") as file:
                heaps = {offset for offset, *_ in recorded_heaps(file)}
                yield file
                record_heaps(file, copy.fileno(), heaps | copy.heaps)
            if copy.failure is not None:
                raise copy.failure
