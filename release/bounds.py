"""Write constraints that pin every direct dependency to the oldest version that pyproject.toml allows.

    python release/bounds.py [PACKAGE=VERSION…] > oldest.txt

Arguments replace single versions, for machines on which an oldest version cannot be had.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"
_BOUND = re.compile(r"([A-Za-z0-9_.-]+)(?:\[[\w,]+\])?\s*>=\s*([\d.]+)\s*(?:;\s*(.+))?$")


def oldest(requirements: Iterable[str], instead: Sequence[str] = ()) -> list[str]:
    """`package==version` of each requirement with a lower bound; ValueError for one without."""
    replaced = dict(each.replace("==", "=").split("=", 1) for each in instead)
    pins = []
    for requirement in requirements:
        match = _BOUND.fullmatch(requirement.strip())
        if match is None:
            raise ValueError(f"{requirement!r} has no lower bound, such as numpy>=1.26")
        package, version, marker = match.groups()
        pins.append(f"{package}=={replaced.pop(package, version)}" + (f"; {marker}" if marker else ""))
    if replaced:
        raise ValueError(f"no dependency is named {', '.join(replaced)}")
    return pins


def main() -> None:
    """Print the constraints."""
    with PROJECT.open("rb") as file:
        project: dict[str, Any] = tomllib.load(file)["project"]
    print("\n".join(oldest(project["dependencies"], sys.argv[1:])))


if __name__ == "__main__":
    main()
