"""Where the project's own data lies, and how its TOML is read.

Installed, the data is the folder `culnig/data`; in a checkout it is `data/` at the top.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

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
    raise DataFileError(_PACKAGE / "data" / name, "this installation lacks it; install culnig-engine again")


def read_toml(path: Path) -> dict[str, Any]:
    """Parse a TOML file; DataFileError names the line of a syntax error."""
    try:
        document: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataFileError(path, "no such file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DataFileError(path, f"not valid TOML: {error}") from None
    return document
