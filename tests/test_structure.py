"""Sizes and names: what keeps the source readable is checked, not hoped for."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import culnig

PACKAGE = Path(culnig.__file__).parent
ROOT = PACKAGE.parent

LONGEST_FILE = 350
LONGEST_FUNCTION = 60

NOT_NAMES = {
    "those",
    "found",
    "how",
    "one",
    "what",
    "there",
    "others",
    "wanted",
    "these",
    "it",
    "place",
    "places",
}
"""Pronouns and fillers: a name says what it holds. `index`, `offset` or `path` in place of `place`."""


def sources() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def lines_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of the body, without decorators (a command's options), signature and docstring."""
    body = function.body
    if ast.get_docstring(function) is not None:
        body = body[1:] or body
    return (function.end_lineno or 0) - body[0].lineno + 1


def bound_names(path: Path) -> Iterator[tuple[str, int]]:
    """Names that a source assigns, loops over, imports as or takes as arguments, with their lines."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id, node.lineno
        elif isinstance(node, ast.arg):
            yield node.arg, node.lineno


def named(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


@pytest.mark.parametrize("path", sources(), ids=named)
def test_files_and_functions_stay_short(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST_FILE
    long = {f.name: lines_of(f) for f in functions(path) if lines_of(f) > LONGEST_FUNCTION}
    assert long == {}


@pytest.mark.parametrize("path", sources(), ids=named)
def test_names_say_what_they_hold(path):
    assert [f"line {line}: {name}" for name, line in bound_names(path) if name in NOT_NAMES] == []


def test_the_measure_of_a_function_counts_its_body(tmp_path):
    source = tmp_path / "source.py"
    source.write_text('def f(\n    a,\n    b,\n):\n    """Doc\n\n    more."""\n    a += b\n    return a\n')
    assert [lines_of(function) for function in functions(source)] == [2]


def test_every_test_file_has_its_room():
    """tests/ mirrors culnig/: a folder of tests is a part of the package, or says that it is not."""
    parts = {path.name for path in PACKAGE.iterdir() if path.is_dir()}
    folders = {path.relative_to(ROOT / "tests").parts[0] for path in (ROOT / "tests").rglob("test_*.py")}
    folders = {folder for folder in folders if not folder.endswith(".py")}
    assert folders - parts == {"integration", "examples"}


def test_compiled_sources_are_formatted_and_short():
    listed = subprocess.run(
        ["git", "ls-files", "csrc/*.h", "csrc/*.cpp", "csrc/*.cu"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    ).stdout.split()
    assert len(listed) > 10
    long = {name: n for name in listed if (n := len((ROOT / name).read_text().splitlines())) > 250}
    assert long == {}
