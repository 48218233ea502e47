"""Outputs and inputs inside each other: refused before anything is touched."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from culnig.errors import InputError, argument, option

_MARKS: dict[str, tuple[str, ...]] = {
    "run.json": ("run.json", "scores.h5", "parts", "items", "tensors"),
    "results.json": ("results.json", "items.h5", "request.json", "parts"),
    "request.json": ("request.json", "parts", "checkpoints", "results.json", "items.h5"),
    "training.json": (
        "training.json",
        "checkpoints",
        "log.csv",
        "plan.yaml",
        "*.safetensors",
        "*config.json",
    ),
    "export.json": ("export.json", "*.safetensors", "*config.json", "*.index.json", "tokenizer*", "*.gguf"),
    "arms.json": ("arms.json", "arms.csv", "before"),
}
"""Files by which a folder is known as an output of culnig, and names that belong to it then."""

_open: set[Path] = set()
"""Folders that this process writes: it may write into them."""


def begin_writing(folder: Path) -> Path:
    """Note that this process writes a folder; returns what `end_writing` takes."""
    real = folder.resolve()
    _open.add(real)
    return real


def end_writing(real: Path) -> None:
    """Forget a folder."""
    _open.discard(real)


def check_no_owner(path: Path) -> None:
    """InputError if a file or folder to be written belongs to another output: RUN/items, RUN/scores.h5."""
    path = Path(os.path.abspath(path))  # noqa: PTH100 - a link is replaced, not followed
    inner = path
    for folder in path.parents:
        name = inner.name
        inner = folder
        if folder.resolve() in _open:
            return
        for mark, names in _MARKS.items():
            if any(fnmatchcase(name, pattern) for pattern in names) and _is_ours(folder / mark):
                raise InputError(
                    f"{path} belongs to the output in {folder} (it has a {mark}); give another name with "
                    f"{argument('out')}"
                )


def _is_ours(mark: Path) -> bool:
    with contextlib.suppress(OSError), mark.open("rb") as file:
        return b'"format": "culnig-' in file.read(200)
    return False


def _is_output(folder: Path) -> bool:
    """Whether a folder is an output of culnig, whose own files `check_no_owner` protects."""
    return any(_is_ours(folder / mark) for mark in _MARKS)


def _names_us(file: Path) -> bool:
    """Whether a file says that culnig wrote it: sets, plans, instances and reports do."""
    with contextlib.suppress(OSError), file.open("rb") as content:
        return b"culnig" in content.read(4096)
    return False


def check_inputs(out: Path, files: Iterable[Path], inputs: Iterable[Any], *, overwrite: bool) -> None:
    """InputError if `out` is an input, or `overwrite` would remove one; `files` are those it removes.

    Or if `out` is a file in a folder of the inputs that culnig did not write, such as weights of the model.

    `inputs` are what a command was given: paths, names (those that are no paths are passed over), opened
    runs, None.
    """
    target = out.resolve()
    removed = [target / file.relative_to(out) for file in files]
    for given in inputs:
        for path in _paths(given):
            real = path.resolve()
            if real == target:
                raise InputError(
                    f"{path} is read by this command and cannot be its output; give another name with "
                    f"{argument('out')}"
                )
            if real in target.parents and target.is_file() and not (_is_output(real) or _names_us(target)):
                raise InputError(
                    f"{out} is a file of {path}, which this command reads, and culnig did not write it; give "
                    f"another name with {argument('out')}"
                )
            if not overwrite or target not in real.parents:
                continue
            for file in removed:
                if file == real or file in real.parents or real in file.parents:
                    raise InputError(
                        f"{option('overwrite')} would remove {file}, which this command reads ({path}); give "
                        f"another folder with {argument('out')}, or copy what it reads"
                    )


def _paths(given: Any) -> Sequence[Path]:
    """The existing paths among what a command was given."""
    given = getattr(given, "folder", given)
    if isinstance(given, str):
        spellings = (given, given.partition("#")[0], given.partition("=")[2])
        return [Path(text) for text in spellings if text and os.path.lexists(text)][:1]
    if isinstance(given, Path):
        return [given] if os.path.lexists(given) else []
    if isinstance(given, dict):
        given = given.values()
    if isinstance(given, Iterable):
        return [path for inner in given for path in _paths(inner)]
    return []
