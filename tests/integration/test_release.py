"""The scripts that make a release. `make wheel`, in continuous integration, runs them whole."""

from __future__ import annotations

import importlib.util
import io
import os
import subprocess
import tarfile
import time
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


def script(name: str) -> Any:
    specification = importlib.util.spec_from_file_location(f"release_{name}", ROOT / "release" / f"{name}.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


# The oldest versions


def test_every_dependency_has_a_lower_bound_that_becomes_a_pin(capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["bounds.py", "torch==2.13.0"])
    script("bounds").main()
    pins = capsys.readouterr().out.splitlines()
    assert {"torch==2.13.0", "transformers==5", "tomli==2; python_version < '3.11'"} <= set(pins)
    assert all("==" in pin for pin in pins)


def test_a_dependency_without_a_bound_or_an_unknown_replacement_is_refused():
    oldest = script("bounds").oldest
    assert oldest(["a[x]>=1.2", "b.c>=3 ; python_version < '3.11'"], ["a==5"]) == [
        "a==5",
        "b.c==3; python_version < '3.11'",
    ]
    with pytest.raises(ValueError, match="'numpy' has no lower bound"):
        oldest(["numpy"])
    with pytest.raises(ValueError, match="no dependency is named torhc"):
        oldest(["torch>=2.6"], ["torhc==2.7"])


# The same bytes


def packed(folder: Path, order: int) -> Path:
    """An archive of the same files, packed in another order, at another time, by another user."""
    source = folder / "source"
    (source / "inner").mkdir(parents=True)
    (source / "inner" / "run.sh").write_text("true\n")
    (source / "inner" / "run.sh").chmod(0o775)
    (source / "a.txt").write_text("a\n")
    (source / "a.txt").chmod(0o664 if order > 0 else 0o600)
    archive = folder / "x.tar.gz"
    with tarfile.open(archive, "w:gz") as file:
        for path in sorted(source.rglob("*"))[::order]:
            member = file.gettarinfo(path, path.relative_to(source).as_posix())
            member.mtime, member.uname = time.time() + order, f"user{order}"
            content = io.BytesIO(path.read_bytes()) if path.is_file() else None
            file.addfile(member, content)
    return archive


def test_an_archive_depends_on_its_files_alone(tmp_path):
    build = script("build")
    archives = [packed(tmp_path / "one", 1), packed(tmp_path / "other", -1)]
    for archive in archives:
        build.normalise(archive, 1_700_000_000)
    one, other = (archive.read_bytes() for archive in archives)
    assert one == other
    with tarfile.open(archives[0]) as file:
        members = {member.name: member for member in file.getmembers()}
        assert list(members) == ["a.txt", "inner", "inner/run.sh"]
        assert {(member.mtime, member.uid, member.uname) for member in members.values()} == {
            (1_700_000_000, 0, "")
        }
        assert [oct(member.mode) for member in members.values()] == ["0o644", "0o755", "0o755"]
        assert file.extractfile("a.txt").read() == b"a\n"


def test_two_builds_that_differ_end_the_program(tmp_path):
    build = script("build")
    one, other = tmp_path / "x.whl", tmp_path / "again" / "x.whl"
    other.parent.mkdir()
    one.write_bytes(b"1")
    other.write_bytes(b"1")
    build.compare([one], [other])
    other.write_bytes(b"2")
    with pytest.raises(SystemExit, match=r"two builds differ: x\.whl 6b86"):
        build.compare([one], [other])


def test_only_files_that_git_knows_get_into_a_release(tmp_path):
    checkout, target = tmp_path / "checkout", tmp_path / "target"
    (checkout / "culnig").mkdir(parents=True)
    (checkout / "culnig" / "known.py").write_text("changed since\n")
    (checkout / "culnig" / "_cuda.so").write_bytes(b"stale")
    for command in (["init", "-q"], ["add", "culnig/known.py"]):
        subprocess.run(["git", *command], cwd=checkout, check=True, env={**os.environ, "HOME": str(tmp_path)})
    script("build").copy_tracked(checkout, target)
    assert [path.name for path in target.rglob("*") if path.is_file()] == ["known.py"]
