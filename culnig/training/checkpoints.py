"""Whether the files of a checkpoint, or of a trained model, are those that were written."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import xxhash

from culnig.errors import StoreError
from culnig.store.files import read_json, write_json

COMPLETE = "complete"
"""Name of the file that marks a complete checkpoint."""
_BLOCK = 1 << 24


def facts_of(path: Path) -> dict[str, Any]:
    """Size and hash of a file."""
    digest = xxhash.xxh3_64()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return {"n_bytes": path.stat().st_size, "xxh3": digest.hexdigest()}


def changed(path: Path, facts: Any) -> str | None:
    """What happened to a file since its size and hash were recorded: "is gone", "changed", or None."""
    if not path.is_file():
        return "is gone"
    if path.stat().st_size != facts["n_bytes"] or facts_of(path) != facts:
        return "changed"
    return None


def write_mark(checkpoint: Path, request: str) -> None:
    """Mark a checkpoint as complete: whose it is, and what its files hold."""
    files = {path.name: facts_of(path) for path in sorted(checkpoint.iterdir()) if path.name != COMPLETE}
    write_json(checkpoint / COMPLETE, {"request": request, "files": files})


def checkpoint_problem(checkpoint: Path, request: str) -> str | None:
    """Why a marked checkpoint cannot be used, or None. StoreError if it belongs to another training."""
    mark = checkpoint / COMPLETE
    if mark.stat().st_size == 0:  # of a version that marked checkpoints with an empty file
        return next(filter(None, map(_unreadable, sorted(checkpoint.iterdir()))), None)
    try:
        document = read_json(mark, "the mark of a checkpoint")
        files = dict(document["files"])
        problems = [(name, changed(checkpoint / name, facts)) for name, facts in files.items()]
    except StoreError as error:
        return str(error.args[0])
    except (KeyError, TypeError, ValueError) as error:
        return f"{mark} is damaged: {type(error).__name__} {error}"
    if document.get("request") != request:
        raise StoreError(
            f"{checkpoint} belongs to another training; remove it, or put the right checkpoint there"
        )
    return next((f"{name} {problem} after it was written" for name, problem in problems if problem), None)


def _unreadable(path: Path) -> str | None:
    """Why a file without a recorded hash cannot be read, as far as its format tells; or None."""
    try:
        if path.suffix == ".json":
            json.loads(path.read_bytes())
        elif path.suffix == ".safetensors":
            _check_safetensors(path)
        elif path.suffix in (".pt", ".pth"):
            with zipfile.ZipFile(path) as file:
                if (damaged := file.testzip()) is not None:
                    return f"{path.name} is damaged at {damaged}"
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        return f"{path.name} is damaged: {error}"
    return None


def _check_safetensors(path: Path) -> None:
    """ValueError if the file is not as long as its header says."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > path.stat().st_size:
            raise ValueError("its header is cut off")
        header = json.loads(file.read(length))
    end = max((own["data_offsets"][1] for name, own in header.items() if name != "__metadata__"), default=0)
    if path.stat().st_size != 8 + length + end:
        raise ValueError("it is cut off")
