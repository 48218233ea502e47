"""Finds the project's own data and files that others name, reads TOML, and keeps small files small in memory.

An installed package keeps the data in `culnig/data`, a checkout in `data/` at the top. A file of a few bytes
can stand for gigabytes: YAML aliases that repeat each other, brackets without end, keys with thousands of
dots. Readers check that first.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path, PurePath, PureWindowsPath
from typing import Any, TypeVar

import yaml

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


MOST_BYTES = 4 << 20
"""Largest TOML or YAML file that people write; the project's own largest has 50 kB."""
MOST_NODES = 200_000
"""Most values of such a file, each counted as often as aliases repeat it."""
_MOST_LEVELS = 64
_MANY_DOTS = re.compile(r"(?:[\w-]+[ \t]*\.[ \t]*){64}")


def read_toml(path: Path) -> dict[str, Any]:
    """Parse a TOML file; DataFileError names the line of a syntax error."""
    text = read_small_text(path)
    if _MANY_DOTS.search(text):
        raise DataFileError(path, "not valid TOML: a key with more than 64 dots")
    try:
        document: dict[str, Any] = tomllib.loads(text)
    except ValueError as error:  # TOMLDecodeError, or a number of thousands of digits
        raise DataFileError(path, f"not valid TOML: {error}") from None
    except RecursionError:
        raise DataFileError(path, "not valid TOML: nested too deeply") from None
    return document


def read_small_text(path: Path) -> str:
    """The text of a file that people write; DataFileError if it is missing, not UTF-8 or too large."""
    try:
        if (size := path.stat().st_size) > MOST_BYTES:
            raise DataFileError(path, f"{size / 1e6:.1f} MB; at most {MOST_BYTES / 1e6:.1f} MB are read")
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise DataFileError(path, "no such file") from None
    except UnicodeDecodeError as error:
        raise DataFileError(path, f"not UTF-8 ({error.reason}); save the file as UTF-8") from None
    except OSError as error:
        raise DataFileError(path, f"cannot be read: {error.strerror}") from None


class TooMuchYaml(yaml.YAMLError):  # type: ignore[misc]  # PyYAML has no types
    """A YAML text that would be much larger in memory."""


def check_yaml(text: str, most_nodes: int = MOST_NODES) -> None:
    """TooMuchYaml for a text that is nested deeply, or has more values than `most_nodes`.

    Values count as often as aliases and merge keys repeat them. Nothing is built yet: PyYAML's C extension
    would run out of stack in deep nesting, and the process with it.
    """
    sizes: dict[str, int] = {}
    levels: list[tuple[str | None, int]] = []  # anchor of each open collection, and the count before it
    count = 0
    for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        if isinstance(event, yaml.AliasEvent):
            if any(anchor == event.anchor for anchor, _ in levels):
                raise TooMuchYaml(f"*{event.anchor} contains itself")
            count += sizes.get(event.anchor, 1)
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = levels.pop()
            if anchor is not None:
                sizes[anchor] = count - before
        elif isinstance(event, yaml.NodeEvent):
            if isinstance(event, yaml.CollectionStartEvent):
                levels.append((event.anchor, count))
            elif event.anchor is not None:
                sizes[event.anchor] = 1
            count += 1
        if len(levels) > _MOST_LEVELS:
            raise TooMuchYaml(f"nested more than {_MOST_LEVELS} levels deep")
        if count > most_nodes:
            raise TooMuchYaml(f"more than {most_nodes:,} values, counting what aliases repeat")
