"""Hashes of what steps read and write.

Each file is read once, and again only if its size or modification time changes.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from culnig.errors import StoreError
from culnig.provenance import file_hash
from culnig.store.files import is_leftover, make_folder, read_json, remove_leftovers, write_json

_MEASURED = ("run.json",)
"""Files that are left out: they hold measured times, memory and versions, and the data are in other files."""


class ContentHashes:
    """SHA-256 of files, remembered in a file of the study's folder."""

    def __init__(self, memory: Path) -> None:
        self._memory = memory
        self._known: dict[str, list[Any]] = {}
        with contextlib.suppress(StoreError):
            self._known = read_json(memory, "hashes of files").get("files", {})
        self._changed = False

    def of_file(self, path: Path) -> str:
        """Hash of a file."""
        facts = path.stat()
        stamp, key = [facts.st_size, facts.st_mtime_ns], str(path.resolve())
        known = self._known.get(key)
        if known is None or known[:2] != stamp:
            known = self._known[key] = [*stamp, file_hash(path)]
            self._changed = True
        return str(known[2])

    def of_path(self, path: Path) -> dict[str, str]:
        """Hashes of a file, or of the files in a folder, by their path in it; empty if nothing is there."""
        if path.is_file():
            return {"": self.of_file(path)}
        return {
            inner.relative_to(path).as_posix(): self.of_file(inner)
            for inner in sorted(path.rglob("*"))
            if inner.is_file() and not is_leftover(inner)
        }

    def save(self) -> None:
        """Save the hashes for the next time."""
        if self._changed:
            make_folder(self._memory.parent)
            remove_leftovers(self._memory.parent)
            write_json(self._memory, {"format": "culnig-hashes", "files": self._known})
            self._changed = False


def content_of(files: Mapping[str, str]) -> str:
    """One hash for files that a step reads, without those that differ from run to run."""
    kept = {name: value for name, value in files.items() if name.rpartition("/")[2] not in _MEASURED}
    return digest(kept)


def digest(value: Any) -> str:
    """SHA-256 of a value as JSON, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()
