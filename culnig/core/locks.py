"""A lock that keeps a folder to one process at a time."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path


class NoLocks(OSError):
    """The file system has no locks."""


def lock(folder: Path, *, wait: bool = False) -> Callable[[], None] | None:
    """Lock a folder against other processes of this machine; the function that unlocks it.

    None if another process holds it and `wait` is not asked for. The lock is on the folder itself, so nothing
    is left behind, and it ends with the process. OSError if the folder cannot be opened, NoLocks if it cannot
    be locked.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError as error:
        os.close(descriptor)
        raise NoLocks(*error.args) from error
    return lambda: os.close(descriptor)
