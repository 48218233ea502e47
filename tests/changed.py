"""Tests of what has changed since a commit: those that mirror each changed file, and the rules for all files.

    python -m tests.changed [COMMIT]

Prints the files of tests, for `make test-fast`. Without a commit, what has changed since the last one.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parents[1]
ALWAYS = ("tests/test_structure.py", "tests/test_imports.py")


def changed_files(commit: str, root: Path = ROOT) -> list[str]:
    """Files below `root` that differ from those of a commit, new ones too."""
    commands = (
        ["git", "diff", "--name-only", "--no-renames", "--relative", commit],
        ["git", "ls-files", "--others", "--exclude-standard"],
    )
    lines: list[str] = []
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, cwd=root, check=False)
        if done.returncode:
            sys.exit(done.stderr.strip())
        lines += done.stdout.splitlines()
    return sorted(set(lines))


def mirrored_tests(changed: Iterable[str], root: Path = ROOT) -> list[str]:
    """The tests to run, files and folders, each once.

    A changed test is run itself; a changed helper of tests has no tests of its own.
    """
    chosen = dict.fromkeys(ALWAYS)
    for path in map(Path, changed):
        if path.name.startswith("test_") and path.suffix == ".py":
            tests = path
        elif path.parts[0] == "culnig" and path.suffix == ".py":
            tests = Path("tests", *path.parts[1:-1], f"test_{path.name.lstrip('_')}")
        elif path.parts[0] == "csrc":
            tests = Path("tests/kernels")
        else:
            continue
        if (root / tests).exists():
            chosen[tests.as_posix()] = None
    return list(chosen)


if __name__ == "__main__":
    print(*mirrored_tests(changed_files(*(sys.argv[1:] or ["HEAD"]))), sep="\n")
