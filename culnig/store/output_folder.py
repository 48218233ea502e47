"""Output folders and files of commands: checked, locked, resumed or replaced in the same way by all.

A command whose output is a folder describes it by an `OutputKind` and opens it with `OutputFolder.open`,
which writes its request. A command whose output is a file writes it within `owned_file`, and one whose output
is several files within `owned_files`. The files themselves are written by `culnig.store.files`.
"""

from __future__ import annotations

import contextlib
import os
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from culnig.core.locks import NoLocks, is_lock_file, lock, lock_name
from culnig.errors import InputError, MismatchError, OutputExistsError, StoreError, argument, option
from culnig.store.files import (
    disk_errors,
    is_leftover,
    make_folder,
    remove,
    remove_if_empty,
    remove_leftovers,
    write_json,
)
from culnig.store.inside import begin_writing, check_inputs, check_no_owner, end_writing
from culnig.store.output_kind import REPLACES, OutputKind, Request, as_stored, differences
from culnig.store.prompts import PROMPTS


class OutputFolder:
    """The folder that a command writes, locked until it is closed."""

    def __init__(self, path: Path) -> None:
        """Lock a folder; StoreError if another process writes it."""
        self.path = path
        unlock, real = _locked(path), begin_writing(path)

        def close() -> None:
            end_writing(real)
            unlock()

        self._close = weakref.finalize(self, close)

    @classmethod
    def open(
        cls, path: Path, kind: OutputKind, request: Request, *, resume: bool = False, overwrite: bool = False
    ) -> OutputFolder:
        """Make and lock the folder and write its request, unless it is finished and resumed.

        Files that can be resumed stay; files that are replaced are removed, after the request has taken their
        owner's place: a kill leaves the old output, or the new one, unfinished. OutputExistsError if the
        folder is in use, MismatchError if the output to resume has another request, StoreError if another
        process writes the folder.
        """
        folder = cls.reserve(path, kind, resume=resume, overwrite=overwrite)
        try:
            with disk_errors(path):
                folder.begin(kind, request, resume=resume)
        except BaseException:
            folder.close()
            raise
        return folder

    @classmethod
    def reserve(
        cls, path: Path, kind: OutputKind, *, resume: bool = False, overwrite: bool = False
    ) -> OutputFolder:
        """Make and lock the folder, and leave the output that it holds until `begin`.

        For a command that can still be refused. Errors as for `open`.
        """
        with disk_errors(path):
            check_folder(path, kind, resume=resume, overwrite=overwrite, inputs=())
            make_folder(path)
            folder = cls(path)
            try:
                check_folder(
                    path, kind, resume=resume, overwrite=overwrite, inputs=()
                )  # nobody else changes it now
                _tidy(path, kind)
            except BaseException:
                folder.close()
                raise
        return folder

    def close(self) -> None:
        """Unlock the folder for other processes."""
        self._close()

    def begin(self, kind: OutputKind, request: Request, *, resume: bool = False) -> None:
        """Write the request, in the place of an earlier output, whose files are removed."""
        mark = self.path / kind.marks[0]
        stored: Request = {}
        if not _is_free(self.path, kind):
            stored = check_same_request(self.path, kind, request) if resume else kind.read_request(self.path)
            if resume and REPLACES not in stored:
                if not kind.is_finished(self.path):
                    write_json(mark, request)
                return
        replaced = kind.files(self.path, stored.get(REPLACES, ()))
        if replaced:
            names = [path.relative_to(self.path).as_posix() for path in replaced]
            write_json(mark, {**request, REPLACES: names})
            for path in replaced:
                remove(path)
        for pattern in kind.folders:
            for inner in self.path.glob(pattern):
                remove_if_empty(inner)
        write_json(mark, request)


def _tidy(folder: Path, kind: OutputKind) -> None:
    """Remove files that a killed process left half written, also one of an earlier version."""
    remove_leftovers(folder)
    for pattern in kind.folders:
        for inner in folder.glob(pattern):
            remove_leftovers(inner)
    for pattern in (*kind.marks, *kind.contents):
        for path in folder.glob(f"{pattern}.tmp"):
            remove(path)


def check_modes(name: str, *, resume: bool, overwrite: bool) -> None:
    """InputError if a folder is to be continued and replaced at once; `name` is what it holds: "a run"."""
    if resume and overwrite:
        raise InputError(
            f"{option('resume')} continues {name}, {option('overwrite')} replaces it; give only one of them"
        )


def check_folder(
    path: Path,
    kind: OutputKind,
    *,
    resume: bool = False,
    overwrite: bool = False,
    inputs: Iterable[Any],
) -> None:
    """OutputExistsError if the folder is in use and cannot be resumed or replaced.

    InputError if it is one of the command's `inputs`, would remove one, or belongs to another output.
    """
    check_no_owner(path)
    check_inputs(path, kind.files(path) if overwrite else (), inputs, overwrite=overwrite)
    if _is_free(path, kind):
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


def _is_free(path: Path, kind: OutputKind) -> bool:
    """Whether the folder is empty, apart from leftovers of a process killed before its first rename."""
    if not os.path.lexists(path):
        return True
    earlier = [f"{mark}.tmp" for mark in kind.marks]
    return path.is_dir() and all(
        is_leftover(inner) or is_lock_file(inner) or inner.name in earlier for inner in path.iterdir()
    )


def check_same_request(path: Path, kind: OutputKind, request: Request) -> Request:
    """The request of a folder; MismatchError, naming every difference, where it is another one."""
    stored = kind.read_request(path)
    if stored and (differing := differences(stored, as_stored(request), kind.sections)):
        dates = [own.stored.strip("'") for own in differing if own.name.endswith(f".{PROMPTS}.date")]
        dated = f" ({option('prompt_date', dates[0])} asks with the earlier date)" if dates else ""
        raise MismatchError(
            f"{path} cannot be resumed because the settings differ: {'; '.join(map(str, differing))}. Use "
            f"the same settings{dated}, or add {option('overwrite')}"
        )
    return stored


def check_file(path: Path, *, overwrite: bool, inputs: Iterable[Any]) -> None:
    """OutputExistsError if a file may not be written, InputError if it is one of the command's `inputs`.

    Or if it is somebody else's file in a folder among the inputs, such as the weights of the model.
    """
    if path.is_dir():
        raise OutputExistsError(f"{path} is a folder; give a file with {argument('out')}")
    if path.exists() and not path.is_file():  # it would be replaced, for everybody
        raise OutputExistsError(f"{path} is a device or a pipe; give a file with {argument('out')}")
    check_no_owner(path)
    check_inputs(path, (), inputs, overwrite=overwrite)
    check_free(path, overwrite=overwrite)


def check_free(path: Path, *, overwrite: bool) -> None:
    """OutputExistsError if `path` exists and `overwrite` is not set."""
    if os.path.lexists(path) and not overwrite:
        raise OutputExistsError(
            f"{path} exists; add {option('overwrite')} to replace it, or give another name with "
            f"{argument('out')}"
        )


def check_files(folder: Path, names: Sequence[str], *, overwrite: bool, inputs: Iterable[Any]) -> list[Path]:
    """Paths of files to write into a folder; errors as for `check_file`, for any of them."""
    if os.path.lexists(folder) and not folder.is_dir():
        raise OutputExistsError(f"{folder} is a file; give a folder with {argument('out')}")
    files, inputs = [folder / name for name in names], list(inputs)
    for file in files:
        check_file(file, overwrite=overwrite, inputs=inputs)
    return files


@contextlib.contextmanager
def owned_file(path: Path, *, overwrite: bool, inputs: Iterable[Any]) -> Iterator[Path]:
    """The path of a file to write, in a folder that is made, and locked until the context ends.

    Errors as for `check_file`, and StoreError if another process writes the file.
    """
    inputs = list(inputs)
    check_file(path, overwrite=overwrite, inputs=inputs)
    make_folder(path.parent)
    with disk_errors(path):
        unlock = _unless_another_writes(path, lock_name, "file")
    try:
        check_file(path, overwrite=overwrite, inputs=inputs)
        remove_leftovers(path.parent)
        yield path
    finally:
        unlock()


@contextlib.contextmanager
def owned_files(
    folder: Path, names: Sequence[str], *, overwrite: bool, inputs: Iterable[Any]
) -> Iterator[list[Path]]:
    """Paths of files to write into a folder, which is made, and locked until the context ends.

    Errors as for `check_files`, before any of them is written, and StoreError if another process writes the
    folder.
    """
    inputs = list(inputs)
    check_files(folder, names, overwrite=overwrite, inputs=inputs)
    with locked_folder(folder):
        files = check_files(folder, names, overwrite=overwrite, inputs=inputs)
        remove_leftovers(folder)
        yield files


@contextlib.contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Make a folder and lock it until the context ends; StoreError if another process writes it."""
    make_folder(folder)
    unlock = _locked(folder)
    try:
        yield
    finally:
        unlock()


def _locked(folder: Path) -> Callable[[], None]:
    """Lock a folder; the function that unlocks it. StoreError if another process writes the folder."""
    return _unless_another_writes(folder, lock, "folder")


def _unless_another_writes(
    path: Path, locked: Callable[[Path], Callable[[], None] | None], kind: str
) -> Callable[[], None]:
    try:
        unlock = locked(path)
    except NoLocks:  # every file is whole all the same, and parts name their request
        return lambda: None
    if unlock is None:
        raise StoreError(
            f"{path}: another process is writing this {kind}; wait for it, or give another {kind} with "
            f"{argument('out')}"
        )
    return unlock
