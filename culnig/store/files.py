"""Files that are written completely or not at all: temporary name, fsync, rename.

No other module of culnig creates, renames or removes files of an output (`tests/test_structure.py`).
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from culnig.core.locks import NoLocks, lock, lock_shared
from culnig.errors import EnvironmentProblem, StoreError, argument, option

_TEMPORARY = re.compile(r"\.culnig-[0-9a-f]{16}\.tmp")
OPENS_FOLDERS = os.name != "nt"
"""Whether the system opens folders like files, to lock and to sync them."""
CHECKSUM = "checksum"
"""Key of a JSON document's SHA-256, over everything else in it; the last one."""
_DIGITS = 64
"""Of a SHA-256: where the last value has as many, its key was the checksum's and is damaged."""


def _temporary_path(folder: Path) -> Path:
    return folder / f".culnig-{secrets.token_hex(8)}.tmp"


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield an empty file beside `path`; on success it becomes `path`, on any error nothing is left.

    Its name is random and it is created exclusively. Where `path` is a symbolic link, the link is replaced
    and the file it points to stays. EnvironmentProblem if the disk is full or the folder cannot be written.
    """
    temporary = _temporary_path(path.parent)
    try:
        with disk_errors(path):
            os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
            with _in_use(temporary):
                yield temporary
                sync(temporary)
            temporary.replace(path)
            sync(path.parent)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def whole_files(folder: Path, before_moving: Callable[[list[str]], object] = len) -> Iterator[Path]:
    """Yield an empty folder; on success its files move to `folder`, on any error nothing is left.

    `before_moving` gets their names, when they are all on the disk. Errors as for `whole_file`.
    """
    temporary = _temporary_path(folder)
    try:
        with disk_errors(folder):
            temporary.mkdir()
            with _in_use(temporary), foreign_disk_errors():
                yield temporary
            sync_files(temporary)
            names = sorted(path.name for path in temporary.iterdir())
            before_moving(names)
            for name in names:
                (temporary / name).replace(folder / name)
            sync(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextlib.contextmanager
def _in_use(temporary: Path) -> Iterator[None]:
    """Tell `remove_leftovers` of other processes that a temporary file or folder is being written."""
    if not OPENS_FOLDERS:
        yield
        return
    descriptor = os.open(temporary, os.O_RDONLY)
    try:
        with contextlib.suppress(NoLocks):
            lock_shared(descriptor)
        yield
    finally:
        os.close(descriptor)


def sync_files(folder: Path) -> None:
    """Wait until a folder and the files in it are on the disk."""
    for path in folder.rglob("*"):
        sync(path)
    sync(folder)


def remove_leftovers(folder: Path) -> None:
    """Remove temporary files of processes that were killed, but not those that a process is writing.

    Where the file system has no locks to tell these apart, all stay.
    """
    for path in folder.iterdir() if folder.is_dir() else ():
        with contextlib.suppress(NoLocks, FileNotFoundError):
            if is_leftover(path) and (unlock := lock(path)) is not None:
                remove(path)
                unlock()


def is_leftover(path: Path) -> bool:
    """Whether a file or folder is one that a process writes before it is whole."""
    return _TEMPORARY.fullmatch(path.name) is not None and not path.is_symlink()


def remove(path: Path) -> None:
    """Remove a file, a link or a whole folder, if it exists. Errors as for `whole_file`."""
    with disk_errors(path):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def remove_if_empty(folder: Path) -> None:
    """Remove a folder that holds nothing; leave any other."""
    with contextlib.suppress(OSError):
        folder.rmdir()


def remove_matching(folder: Path, pattern: str) -> None:
    """Remove files of a folder, with what killed processes left, and the folder where nothing remains."""
    for path in folder.glob(pattern):
        remove(path)
    remove_leftovers(folder)
    remove_if_empty(folder)


def copy_file(source: Path, target: Path) -> None:
    """Copy a file, by a hard link if the file system can. Errors as for `whole_file`."""
    temporary = _temporary_path(target.parent)
    try:
        os.link(source, temporary)
    except OSError:
        copy_contents(source, target)
        return
    with disk_errors(target):
        try:
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)


def copy_contents(source: Path, target: Path) -> None:
    """Copy a file's bytes, so that changes of the copy leave the file alone. Errors as for `whole_file`."""
    with whole_file(target) as copy:
        shutil.copyfile(source, copy)


@contextlib.contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn disk errors at `path` into ours: EnvironmentProblem, or StoreError for a bad name."""
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


@contextlib.contextmanager
def foreign_disk_errors() -> Iterator[None]:
    """Turn disk errors of torch and safetensors, which raise their own kinds, into OSError."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        text = str(error)
        for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EROFS):
            if f"os error {number})" in text or os.strerror(number) in text:
                raise OSError(number, os.strerror(number)) from error
        if "PytorchStreamWriter" in text or "file write failed" in text:  # torch does not say why
            raise OSError(errno.ENOSPC, "writing stopped, probably because the disk is full") from error
        raise


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder where the system can do that, are on the disk."""
    if not OPENS_FOLDERS and path.is_dir():
        return
    descriptor = os.open(path, os.O_RDONLY if OPENS_FOLDERS else os.O_RDWR)  # Windows syncs what it may write
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def require_space(folder: Path, n_bytes: int) -> None:
    """EnvironmentProblem if the disk of `folder` has less than `n_bytes` free."""
    free = free_space(folder)
    if n_bytes > free:
        raise EnvironmentProblem(
            f"{folder} needs about {n_bytes / 1e9:.2f} GB and the disk has {free / 1e9:.2f} GB free; free "
            f"some, store less ({argument('level')}, {argument('modules')}, {argument('layers')}, "
            f"{argument('items')}), or write all the same with {option('force')}"
        )


def free_space(folder: Path) -> int:
    """Free bytes on the disk that holds a folder, which need not exist yet."""
    parent = folder.absolute()
    while not parent.exists():
        parent = parent.parent
    return shutil.disk_usage(parent).free


def make_folder(folder: Path) -> None:
    """Make a folder and its parents; StoreError if that fails, or if it is a link that leads nowhere."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"cannot make the folder {folder}: {error.strerror}; give another output") from None


def write_text(path: Path, text: str) -> None:
    """Write a text as UTF-8, whole or not at all."""
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


def write_with(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write what `write` writes into an open file, whole or not at all; it never sees the file's name."""
    with whole_file(path) as temporary, foreign_disk_errors(), temporary.open("wb") as file:
        write(file)


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """Write an object as indented JSON with a checksum, whole or not at all; equal ones give equal bytes."""
    checked = {**document, CHECKSUM: checksum(json.loads(json.dumps(document)))}
    write_text(path, json.dumps(checked, indent=1, ensure_ascii=False) + "\n")


def checksum(document: Mapping[str, Any]) -> str:
    """SHA-256 of a JSON object, whatever the order of its keys and its line breaks."""
    own = {key: value for key, value in document.items() if key != CHECKSUM}
    return hashlib.sha256(json.dumps(own, sort_keys=True).encode()).hexdigest()


def check_checksum(path: Path, document: dict[str, Any]) -> None:
    """Take the checksum out of a document; StoreError if it has one that is not that of the rest."""
    last = document.get(next(reversed(document), ""))
    renamed = CHECKSUM not in document and isinstance(last, str) and len(last) == _DIGITS
    stored = document.pop(CHECKSUM, None)
    if renamed or (stored is not None and stored != checksum(document)):
        raise StoreError(
            f"{path}: what it holds differs from what was written: it is damaged, or was edited. Put the "
            f"right file back; if you edited it yourself, remove its {CHECKSUM!r}"
        )


def read_json(path: Path, kind: str) -> dict[str, Any]:
    """Read a JSON object; `kind` names the file in errors: "a neuron set". StoreError says what is wrong.

    An object with a checksum is compared with it.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StoreError(f"{path}: no such file; expected {kind}") from None
    except (ValueError, RecursionError) as error:  # not JSON, not UTF-8, nested or long beyond reason
        raise StoreError(f"{path}: not {kind}: {error}") from None
    except OSError as error:
        raise StoreError(f"{path}: cannot be read as {kind}: {error.strerror}") from None
    if not isinstance(document, dict):
        raise StoreError(f"{path}: not {kind}: it holds a JSON {type(document).__name__}, expected an object")
    check_checksum(path, document)
    return document
