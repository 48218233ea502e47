"""Files that are whole or not there: temporary name, fsync, rename."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py

from culnig.errors import EnvironmentProblem, StoreError, argument, option


def temporary_path(path: Path) -> Path:
    """Where a file is written until it is whole."""
    return path.with_name(path.name + ".tmp")


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it becomes `path`, on any error nothing is left.

    EnvironmentProblem where the disk is full or the folder cannot be written.
    """
    temporary = temporary_path(path)
    try:
        with disk_errors(path):
            yield temporary
            with temporary.open("rb+") as written:
                os.fsync(written.fileno())
            temporary.replace(path)
            _sync_folder(path.parent)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Errors of the disk at `path` as our own: EnvironmentProblem, or StoreError for a bad name."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise EnvironmentProblem(
                f"no space to write {path}: {error.strerror}; free some and run the same command again"
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise EnvironmentProblem(
                f"cannot write {path}: {error.strerror}; give another output with {argument('out')}"
            ) from error
        raise StoreError(f"cannot write {path}: {error.strerror or error}; give another output") from error


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def open_hdf5(path: Path) -> Iterator[h5py.File]:
    """An HDF5 file for reading; StoreError where it, or anything that is read inside, is damaged."""
    try:
        with h5py.File(path, "r") as file:
            yield file
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, MemoryError) as error:
        raise StoreError(f"{path}: not a readable HDF5 file of culnig, or damaged: {error}") from error


class _DiskFile(io.FileIO):
    """A file that HDF5 can always write to: what the disk refuses is noted, and not told to HDF5.

    HDF5 does not recover from a write that fails: it cannot close the file any more and brings the process
    down at its end. So it is left in the belief that all is well, and `failure` is raised after the close.
    """

    failure: OSError | None = None

    def write(self, data: Any) -> int:
        """Write all of `data`, or note why not."""
        view = memoryview(data).cast("B")
        written = 0
        try:
            while self.failure is None and written < len(view):
                written += super().write(view[written:])
        except OSError as error:
            self.failure = error
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        """Set the size, or note why not."""
        try:
            return super().truncate(size)
        except OSError as error:
            self.failure = self.failure or error
            return size or 0


@contextlib.contextmanager
def whole_hdf5(path: Path) -> Iterator[h5py.File]:
    """An HDF5 file that appears under `path` when the context ends, and not at all on any error.

    Its metadata carry checksums, so that damage to them is found on reading.
    """
    with whole_file(path) as temporary, _DiskFile(temporary, "w+b") as target:
        with h5py.File(target, "w", libver="v110") as file:
            yield file
        if target.failure is not None:
            raise target.failure


def require_space(folder: Path, n_bytes: int) -> None:
    """EnvironmentProblem where the disk of `folder` has less than `n_bytes` free."""
    parent = folder.absolute()
    while not parent.exists():
        parent = parent.parent
    free = shutil.disk_usage(parent).free
    if n_bytes > free:
        raise EnvironmentProblem(
            f"{folder} needs about {n_bytes / 1e9:.2f} GB and the disk has {free / 1e9:.2f} GB free; free "
            f"some, store less ({argument('level')}, {argument('modules')}, {argument('layers')}, "
            f"{argument('items')}), or write all the same with {option('force')}"
        )


def make_folder(folder: Path) -> None:
    """Make a folder and its parents; StoreError where that cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"cannot make the folder {folder}: {error.strerror}; give another output") from None


def write_json(path: Path, document: Any) -> None:
    """Write a document as indented JSON, whole or not at all; equal documents give equal bytes."""
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read_json(path: Path, kind: str) -> dict[str, Any]:
    """Read a JSON object; `kind` names the file in errors: "a neuron set". StoreError says what is wrong."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StoreError(f"{path}: no such file; expected {kind}") from None
    except (ValueError, RecursionError) as error:  # not JSON, not UTF-8, nested or long beyond reason
        raise StoreError(f"{path}: not {kind}: {error}") from None
    except OSError as error:
        raise StoreError(f"{path}: cannot be read as {kind}: {error.strerror}") from None
    if not isinstance(document, dict):
        raise StoreError(f"{path}: not {kind}: a JSON {type(document).__name__}, expected an object")
    return document
