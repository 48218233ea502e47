"""Reads the file that declares a benchmark."""

from __future__ import annotations

from pathlib import Path

from culnig.benchmarks.declaration import Declaration
from culnig.core.checked_documents import read_checked


def read_declaration(path: Path) -> Declaration:
    """Read and check a declaration; errors in YAML name their line."""
    return read_checked(path, Declaration)[0]
