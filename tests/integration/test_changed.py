"""Which tests `make test-fast` runs."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.changed import ALWAYS, changed_files, mirrored_tests


def write(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("1\n")


def git(folder: Path, *arguments: str) -> None:
    who = ("-c", "user.name=n", "-c", "user.email=e@example.org")
    subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True)


def test_a_changed_module_runs_the_tests_that_mirror_it(tmp_path):
    write(tmp_path, "tests/store/test_run.py", "tests/kernels/test_top_k.py", "tests/core/test_text.py")
    changed = ["culnig/store/run.py", "culnig/core/_text.py", "csrc/cpu/select.cpp", "csrc/core/rows.h"]
    expected = ["tests/store/test_run.py", "tests/core/test_text.py", "tests/kernels"]
    assert mirrored_tests(changed, tmp_path) == [*ALWAYS, *expected]


def test_a_changed_test_runs_and_what_has_no_tests_or_is_gone_does_not(tmp_path):
    write(tmp_path, "tests/store/test_run.py", "tests/oracle.py", "docs/store.md")
    changed = ["tests/store/test_run.py", "tests/oracle.py", "docs/store.md", "tests/store/test_gone.py"]
    assert mirrored_tests([*changed, "culnig/store/gone.py"], tmp_path) == [
        *ALWAYS,
        "tests/store/test_run.py",
    ]


def test_changed_files_are_edited_removed_and_new_ones_since_a_commit(tmp_path):
    write(tmp_path, "kept", "edited", "removed", "committed", ".gitignore")
    (tmp_path / ".gitignore").write_text("ignored\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "kept", "edited", "removed", ".gitignore")
    git(tmp_path, "commit", "-qm", "first")
    git(tmp_path, "add", "committed")
    git(tmp_path, "commit", "-qm", "second")
    (tmp_path / "edited").write_text("2\n")
    (tmp_path / "removed").unlink()
    write(tmp_path, "new", "ignored")
    assert changed_files("HEAD", tmp_path) == ["edited", "new", "removed"]
    assert changed_files("HEAD~1", tmp_path) == ["committed", "edited", "new", "removed"]


def test_a_commit_that_does_not_exist_is_an_error(tmp_path):
    git(tmp_path, "init", "-q")
    with pytest.raises(SystemExit, match="nowhere"):
        changed_files("nowhere", tmp_path)
