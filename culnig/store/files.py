"""Files that are whole or not there: temporary name, fsync, rename."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py

from culnig.errors import EnvironmentProblem, StoreError


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it becomes `path`, on any error nothing is left.

    EnvironmentProblem where the disk is full or the folder cannot be written.
    """
    temporary = path.with_name(path.name + ".tmp")
    try:
        yield temporary
        with temporary.open("rb+") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise EnvironmentProblem(
                f"no space to write {path}: {error.strerror}; free some and run the same command again"
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise EnvironmentProblem(
                f"cannot write {path}: {error.strerror}; give another output with -o"
            ) from error
        raise StoreError(f"cannot write {path}: {error.strerror or error}; give another output") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def whole_hdf5(path: Path) -> Iterator[h5py.File]:
    """An HDF5 file that is built in memory and written whole when the context ends.

    HDF5 does not recover from a disk that fills up under it; one plain write of finished bytes does.
    """
    image = io.BytesIO()
    with h5py.File(image, "w") as file:
        yield file
    with whole_file(path) as temporary:
        temporary.write_bytes(image.getbuffer())


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


def read_json(path: Path, what: str) -> dict[str, Any]:
    """Read a JSON object; StoreError says what is wrong with it."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StoreError(f"{path}: no such file; expected {what}") from None
    except (ValueError, RecursionError) as error:  # not JSON, not UTF-8, nested or long beyond reason
        raise StoreError(f"{path}: not {what}: {error}") from None
    except OSError as error:
        raise StoreError(f"{path}: cannot be read as {what}: {error.strerror}") from None
    if not isinstance(document, dict):
        raise StoreError(f"{path}: not {what}: a JSON {type(document).__name__}, expected an object")
    return document


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
