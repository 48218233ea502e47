"""Locks that keep an output to one process at a time; where the system has no flock, there are none."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Callable
from pathlib import Path

try:
    import fcntl
except ModuleNotFoundError:  # Windows
    fcntl = None  # type: ignore[assignment]


_HIDDEN = re.compile(r"\.culnig-[0-9a-f]{16}\.lock")


class NoLocks(OSError):
    """The file system, or the system, has no locks."""


def lock(path: Path, *, wait: bool = False) -> Callable[[], None] | None:
    """Lock a folder or a file against other processes of this machine; the function that unlocks it.

    None if another process holds it and `wait` is not asked for. The lock is on the folder itself, so nothing
    is left behind, and it ends with the process. OSError if the folder cannot be opened, NoLocks if it cannot
    be locked.
    """
    _require_locks()
    descriptor = os.open(path, os.O_RDONLY)
    if not _locked(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB)):
        return None
    return lambda: os.close(descriptor)


def lock_name(path: Path) -> Callable[[], None] | None:
    """Lock the name of a file, which need not exist, like `lock`.

    The lock is on a hidden file beside it, which is removed at the end; the next lock removes what a killed
    process left.
    """
    _require_locks()
    hidden = path.with_name(f".culnig-{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]}.lock")
    while True:
        descriptor = os.open(hidden, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        try:
            if not _locked(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB):
                return None
        except NoLocks:
            hidden.unlink(missing_ok=True)
            raise
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(hidden.stat(), os.fstat(descriptor)):
                break
        os.close(descriptor)  # the process before removed it just now

    def unlock() -> None:
        hidden.unlink(missing_ok=True)
        os.close(descriptor)

    return unlock


def is_lock_file(path: Path) -> bool:
    """Whether a file is the hidden one of `lock_name`, which a killed process leaves."""
    return _HIDDEN.fullmatch(path.name) is not None


def lock_shared(descriptor: int) -> bool:
    """Lock an open file for reading until it is closed; False if another process writes it.

    NoLocks if the file system has none.
    """
    _require_locks()
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise NoLocks(*error.args) from error
    return True


def _require_locks() -> None:
    if fcntl is None:
        raise NoLocks("this system has no locks of files")


def _locked(descriptor: int, operation: int) -> bool:
    """Lock an open file, or close it again and say that another process holds it."""
    try:
        fcntl.flock(descriptor, operation)
    except BlockingIOError:
        os.close(descriptor)
        return False
    except OSError as error:
        os.close(descriptor)
        raise NoLocks(*error.args) from error
    return True
