"""Where commands write."""

from __future__ import annotations

import os
from pathlib import Path

from culnig.errors import OutputExistsError, argument, option


def check_file(path: Path, *, overwrite: bool) -> None:
    """OutputExistsError if the path is a folder, or a file that may not be replaced."""
    if path.is_dir():
        raise OutputExistsError(f"{path} is a folder; give a file with {argument('out')}")
    if os.path.lexists(path) and not overwrite:
        raise OutputExistsError(
            f"{path} exists; add {option('overwrite')} to replace it, or give another file"
        )
