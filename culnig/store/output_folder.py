"""Output folders and files of commands: checked, locked, resumed or replaced in the same way by all.

A command whose output is a folder describes it by an `OutputKind` and opens it with `OutputFolder.open`. The
first file it writes then is its request. A command whose output is a file asks `check_file`.
"""

from __future__ import annotations

import json
import os
import shutil
import weakref
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from culnig.core.locks import NoLocks, lock
from culnig.errors import InputError, MismatchError, OutputExistsError, StoreError, argument, option
from culnig.store.files import disk_errors, make_folder
from culnig.store.prompts import PROMPTS, differing_entries, without_prompts

Request = Mapping[str, Any]
"""The request of a command, as read back from JSON."""

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
    """Files that mark a folder as ours; they are removed last when it is replaced."""
    contents: tuple[str, ...] = ("*",)
    """Patterns of other files that are removed when the folder is replaced."""
    sections: tuple[str, ...] = ()
    """Entries of the request that a resumed command must share; empty if the command cannot be resumed."""


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
    if without_prompts(before) != without_prompts(now):
        result.append(Difference(name, _brief(without_prompts(before)), _brief(without_prompts(now))))
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


class OutputFolder:
    """The folder that a command writes, locked until it is closed."""

    def __init__(self, path: Path) -> None:
        """Lock a folder; StoreError if another process writes it."""
        self.path = path
        self._unlock = weakref.finalize(self, _locked(path))

    @classmethod
    def open(
        cls, path: Path, kind: OutputKind, request: Request, *, resume: bool = False, overwrite: bool = False
    ) -> OutputFolder:
        """Make and lock the folder; keep files that can be resumed, and remove files that are replaced.

        OutputExistsError if the folder is in use, MismatchError if the output to resume has another request,
        StoreError if another process writes the folder.
        """
        with disk_errors(path):
            check_folder(path, kind, resume=resume, overwrite=overwrite)
            make_folder(path)
            folder = cls(path)
            try:
                check_folder(path, kind, resume=resume, overwrite=overwrite)  # nobody else changes it now
                for leftover in path.rglob("*.tmp"):
                    leftover.unlink()
                if resume and any(path.iterdir()):
                    check_same_request(path, kind, request)
                else:
                    folder._remove(kind)
            except BaseException:
                folder.close()
                raise
        return folder

    def close(self) -> None:
        """Unlock the folder for other processes."""
        self._unlock()

    def _remove(self, kind: OutputKind) -> None:
        """Remove what a command of this kind wrote."""
        contents = {path for pattern in kind.contents for path in self.path.glob(pattern)}
        marks = [self.path / name for name in kind.marks]
        for path in sorted(contents - set(marks)):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
        for path in marks:
            path.unlink(missing_ok=True)


def check_modes(name: str, *, resume: bool, overwrite: bool) -> None:
    """InputError if a folder is to be continued and replaced at once; `name` is what it holds: "a run"."""
    if resume and overwrite:
        raise InputError(
            f"{option('resume')} continues {name}, {option('overwrite')} replaces it; give only one of them"
        )


def check_folder(path: Path, kind: OutputKind, *, resume: bool = False, overwrite: bool = False) -> None:
    """OutputExistsError if the folder is in use and cannot be resumed or replaced."""
    if _is_free(path):
        return
    elsewhere = f"give another folder with {argument('out')}"
    try:
        if not path.is_dir():
            raise StoreError(f"{path}: not a folder")
        kind.read_request(path)
        is_unfinished, problem = not kind.is_finished(path), None
    except StoreError as error:
        is_unfinished, problem = False, error.args[0]
    if not (resume or overwrite):
        resuming = f"{option('resume')} to continue it, " if kind.sections and is_unfinished else ""
        raise OutputExistsError(
            f"{path} exists and is not empty; add {resuming}{option('overwrite')} to replace it, or "
            f"{elsewhere}"
        )
    if problem and resume:
        raise OutputExistsError(f"{path} is not {kind.name} that can be resumed: {problem}; {elsewhere}")
    if problem:
        raise OutputExistsError(
            f"{path} is not {kind.name} of culnig, so {option('overwrite')} leaves it alone; {elsewhere}"
        )


def _is_free(path: Path) -> bool:
    """Whether the folder is empty, apart from leftovers of a process killed before its first rename."""
    if not os.path.lexists(path):
        return True
    return path.is_dir() and all(inner.suffix == ".tmp" for inner in path.iterdir())


def check_same_request(path: Path, kind: OutputKind, request: Request) -> None:
    """MismatchError, naming every difference, where the folder was made for another request."""
    stored = kind.read_request(path)
    if stored and (differing := differences(stored, as_stored(request), kind.sections)):
        dates = [own.stored.strip("'") for own in differing if own.name.endswith(f".{PROMPTS}.date")]
        dated = f" ({option('prompt_date', dates[0])} asks with the earlier date)" if dates else ""
        raise MismatchError(
            f"{path} cannot be resumed because the settings differ: {'; '.join(map(str, differing))}. Use "
            f"the same settings{dated}, or add {option('overwrite')}"
        )


def check_file(path: Path, *, overwrite: bool) -> None:
    """OutputExistsError if a file may not be written."""
    if path.is_dir():
        raise OutputExistsError(f"{path} is a folder; give a file with {argument('out')}")
    check_free(path, overwrite=overwrite)


def check_free(path: Path, *, overwrite: bool) -> None:
    """OutputExistsError if `path` exists and `overwrite` is not set."""
    if os.path.lexists(path) and not overwrite:
        raise OutputExistsError(
            f"{path} exists; add {option('overwrite')} to replace it, or give another name with "
            f"{argument('out')}"
        )


def files_in(folder: Path, names: Iterable[str], *, overwrite: bool) -> list[Path]:
    """Paths of files to be written into a folder; OutputExistsError before any of them is."""
    if os.path.lexists(folder) and not folder.is_dir():
        raise OutputExistsError(f"{folder} is a file; give a folder with {argument('out')}")
    files = [folder / name for name in names]
    for file in files:
        check_free(file, overwrite=overwrite)
    make_folder(folder)
    return files


def _locked(folder: Path) -> Callable[[], None]:
    """Lock a folder; the function that unlocks it. StoreError if another process writes the folder."""
    try:
        unlock = lock(folder)
    except NoLocks:
        return lambda: None
    if unlock is None:
        raise StoreError(
            f"{folder}: another process is writing this folder; wait for it, or give another folder with "
            f"{argument('out')}"
        )
    return unlock
