"""Finds the project's own data, resolves paths that files name, and reads TOML files.

An installed package keeps the data in `culnig/data`, a checkout in `data/` at the top.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path, PurePath, PureWindowsPath
from typing import Any, TypeVar

from culnig.errors import DataFileError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_PACKAGE = Path(__file__).resolve().parent.parent


def own_data(name: str) -> Path:
    """Path of a file or folder of the project's own data, such as `everyday.toml`."""
    for folder in (_PACKAGE / "data", _PACKAGE.parent / "data"):
        if (folder / name).exists():
            return folder / name
    raise DataFileError(_PACKAGE / "data" / name, "missing from this installation; reinstall culnig-engine")


def data_path(source: Path, text: str) -> Path:
    """Path that the file `source` names: absolute, from the home folder (`~`), or relative to its folder.

    On every system a backslash may separate folders. DataFileError if the path is of another system, or `~`
    names no home folder.
    """
    folder = source.parent
    if os.path.lexists(folder / text):
        return folder / text
    try:
        if text.startswith("~"):
            return Path(text.replace("\\", "/")).expanduser()
    except RuntimeError as error:
        raise DataFileError(source, f"data: {text!r}: {error}; write the whole path") from None
    path = joined(folder, text)
    if path is None:
        problem = f"data: {text!r} is a path of Windows; write one of this system"
        raise DataFileError(source, f"{problem}, or one relative to the folder of this file")
    return path


PathOfSystem = TypeVar("PathOfSystem", bound=PurePath)


def joined(folder: PathOfSystem, text: str) -> PathOfSystem | None:
    """An absolute path as it is, a relative one in `folder`; None for an absolute one of another system."""
    windows = PureWindowsPath(text)
    if isinstance(folder, PureWindowsPath) or type(folder)(text).is_absolute():
        return folder / text
    return None if windows.drive or windows.root else folder.joinpath(*windows.parts)


def read_toml(path: Path) -> dict[str, Any]:
    """Parse a TOML file; DataFileError names the line of a syntax error."""
    try:
        document: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise DataFileError(path, "no such file") from None
    except OSError as error:
        raise DataFileError(path, f"cannot be read: {error.strerror or error}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DataFileError(path, f"not valid TOML: {error}") from None
    return document
