"""Formats of files and their versions: a file of another format or an unreadable version is refused.

docs/stability.md tells which versions of culnig-engine read which files.
"""

from __future__ import annotations

from numbers import Integral
from pathlib import Path
from typing import Any

from culnig.errors import StoreError


def check_format(path: Path, name: Any, version: Any, expected: str, readable: int) -> None:
    """StoreError unless a file says that it is of the expected format, in the version that is read.

    `name` and `version` are what the file says, of whatever kind.
    """
    shown = name.decode("utf-8", "replace") if isinstance(name, bytes) else name
    if not isinstance(shown, str) or shown != expected:
        raise StoreError(f"{path}: format is {shown!r}, expected {expected!r}")
    if not isinstance(version, Integral) or isinstance(version, bool) or version != readable:
        raise StoreError(
            f"{path}: format version {version}, this culnig reads {readable}; use the version of "
            "culnig-engine that wrote the file, or make it again"
        )
