"""What the output folder of a command looks like: its request, and which files are the command's."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from culnig.errors import StoreError, argument
from culnig.store.prompts import PROMPTS, differing_entries, without_prompts

Request = Mapping[str, Any]
"""The request of a command, as read back from JSON."""

REPLACES = "replaces"
"""Key of a request: files of the output before it, which are being removed. It is not finished till then."""

_BRIEF = 300
"""Characters of a value in a message."""


@dataclass(frozen=True)
class OutputKind:
    """What the folders of one command look like."""

    name: str
    """With its article: "a run"."""
    read_request: Callable[[Path], Request]
    """Reads the request of a folder, empty if it has none. StoreError if the folder is of another kind."""
    is_finished: Callable[[Path], bool]
    marks: tuple[str, ...]
    """Files that mark a folder as ours; the first holds the request, and is the first that is written."""
    contents: tuple[str, ...]
    """Patterns of the other files that the command writes. Nothing else is removed with the folder."""
    listed: Callable[[Path], Iterable[str]] = lambda folder: ()
    """Names of further files, as the folder records them."""
    sections: tuple[str, ...] = ()
    """Entries of the request that a resumed command must share; empty if the command cannot be resumed."""

    def files(self, folder: Path, more: Iterable[str] = ()) -> list[Path]:
        """Files of the folder that are ours, apart from the first mark.

        StoreError if they lie behind a symbolic link.
        """
        if not folder.is_dir():
            return []
        names = [*self.marks[1:], *self.listed(folder), *more]
        files = {folder / name for name in names if _is_inside(name)}
        files = {path for path in files if os.path.lexists(path)}
        files |= {path for pattern in self.contents for path in folder.glob(pattern)}
        for path in sorted(files):
            _check_no_link(folder, path.parent)
        return sorted(files)

    def request_id(self, request: Request) -> str:
        """SHA-256 of what a resumed command must share; parts name it."""
        stored = as_stored(request)
        asked = {section: without_prompts(stored.get(section)) for section in self.sections}
        return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()

    @property
    def folders(self) -> list[str]:
        """Patterns of the folders that hold the files, innermost first."""
        parents = {parent.as_posix() for pattern in self.contents for parent in Path(pattern).parents}
        return sorted(parents - {"."}, key=len, reverse=True)


def _is_inside(name: object) -> bool:
    """Whether a recorded name is one of a file in the folder."""
    return isinstance(name, str) and name not in ("", ".") and not {"..", "/"} & set(Path(name).parts)


def _check_no_link(folder: Path, inner: Path) -> None:
    while inner != folder:
        if inner.is_symlink():
            raise StoreError(
                f"{inner} is a symbolic link; outputs are not written through links. Put the folder itself "
                f"there, or give another folder with {argument('out')}"
            )
        inner = inner.parent


class Difference(NamedTuple):
    """An entry in which two requests differ."""

    name: str
    stored: str
    asked: str

    def __str__(self) -> str:
        return f"{self.name} is {self.stored} there and {self.asked} in this request"


def differences(stored: Request, asked: Request, sections: Iterable[str]) -> list[Difference]:
    """Differences of two requests in some sections; sections that are objects are compared entry by entry.

    Of prompts only what tells that they differ is named (`culnig.store.prompts`).
    """
    result = []
    for section in sections:
        before, now = stored.get(section), asked.get(section)
        if isinstance(before, dict) and isinstance(now, dict):
            for key in sorted({*before, *now}):
                result += _differences_of(f"{section}.{key}", before.get(key), now.get(key))
        elif before != now:
            result.append(Difference(section, _brief(before), _brief(now)))
    return result


def _differences_of(name: str, before: Any, now: Any) -> list[Difference]:
    if name.endswith(f".{PROMPTS}"):
        return [
            Difference(f"{name}.{entry}", _brief(before[entry]), _brief(now[entry]))
            for entry in differing_entries(before, now)
        ]
    result = []
    first, second = without_prompts(before), without_prompts(now)
    if isinstance(first, dict) and isinstance(second, dict):
        for key in sorted({*first, *second}):
            if first.get(key) != second.get(key):
                result.append(Difference(f"{name}.{key}", _brief(first.get(key)), _brief(second.get(key))))
    elif first != second:
        result.append(Difference(name, _brief(first), _brief(second)))
    if isinstance(before, dict) and isinstance(now, dict):
        result += _differences_of(f"{name}.{PROMPTS}", before.get(PROMPTS), now.get(PROMPTS))
    return result


def _brief(value: Any) -> str:
    text = "not set" if value is None else repr(value)
    return text if len(text) <= _BRIEF else text[:_BRIEF] + " …"


def as_stored(request: Request) -> dict[str, Any]:
    """A request as read back from JSON: tuples become lists."""
    document: dict[str, Any] = json.loads(json.dumps(request))
    return document
