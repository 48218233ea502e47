"""What other systems lack is missing here for a moment: flock, reads at an offset, folders that open …

macOS and Windows themselves have run none of this (docs/install.md, Systems).
"""

from __future__ import annotations

import ast
import errno
import os
import re
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import culnig
from culnig.core import locks
from culnig.core.locks import NoLocks, lock, lock_name, lock_shared
from culnig.store import direct, files
from culnig.store.files import remove_leftovers, whole_file, whole_files, write_json
from culnig.store.output_folder import owned_file, owned_files
from culnig.store.run import Run
from tests.forked import in_child
from tests.toy import write_toy_run

PACKAGE = Path(culnig.__file__).parent
CONTENT = np.random.default_rng(0).integers(0, 256, 300_001, dtype=np.uint8)


@pytest.fixture
def windows(monkeypatch):
    """No locks, no reads and writes at an offset, no folders that open, syncs of writable files only."""
    real_open, real_sync = os.open, os.fsync
    writable: set[int] = set()

    def opened(path, flags, *rest, **named):
        if not isinstance(path, int) and Path(path).is_dir():
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        descriptor = real_open(path, flags, *rest, **named)
        (writable.add if flags & (os.O_RDWR | os.O_WRONLY) else writable.discard)(descriptor)
        return descriptor

    def synced(descriptor):
        if descriptor not in writable:
            raise OSError(errno.EBADF, "Bad file descriptor")
        real_sync(descriptor)

    monkeypatch.setattr(locks, "fcntl", None)
    monkeypatch.setattr(files, "OPENS_FOLDERS", False)
    monkeypatch.setattr(os, "open", opened)
    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(shutil, "_use_fd_functions", False)
    for name in ("preadv", "pwritev", "pread", "pwrite", "O_DIRECT", "O_NOFOLLOW"):
        monkeypatch.delattr(os, name)


# Windows


@pytest.mark.usefixtures("windows")
def test_without_flock_there_are_no_locks_and_nothing_is_opened_for_one(tmp_path):
    for locked in (lock, lock_name):
        with pytest.raises(NoLocks, match="no locks of files"):
            locked(tmp_path)
    with pytest.raises(NoLocks):
        lock_shared(0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("windows")
def test_files_are_written_whole_without_locks(tmp_path):
    write_json(tmp_path / "a.json", {"a": 1})
    with whole_files(tmp_path) as folder:
        (folder / "b").write_bytes(b"b")
    with owned_file(tmp_path / "c", overwrite=False, inputs=()) as path, whole_file(path) as temporary:
        temporary.write_bytes(b"c")
    with (
        owned_files(tmp_path / "d", ["e"], overwrite=False, inputs=()) as (path,),
        whole_file(path) as temporary,
    ):
        temporary.write_bytes(b"e")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "b", "c", "d"]
    with pytest.raises(RuntimeError), whole_file(tmp_path / "f"):
        raise RuntimeError
    assert not (tmp_path / "f").exists()


@pytest.mark.usefixtures("windows")
def test_leftovers_stay_where_no_lock_tells_whose_they_are(tmp_path):
    leftover = tmp_path / ".culnig-0123456789abcdef.tmp"
    leftover.write_bytes(b"")
    remove_leftovers(tmp_path)
    assert leftover.exists()


@pytest.mark.usefixtures("windows")
def test_threads_that_take_turns_read_and_write_the_same_bytes(tmp_path):
    path = tmp_path / "content"
    path.write_bytes(bytes(len(CONTENT)))
    descriptor = os.open(path, os.O_RDWR)
    pieces = range(0, len(CONTENT), 10_007)
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda at: direct.write_at(descriptor, at, [CONTENT[at : at + 10_007]]), pieces))
    assert path.read_bytes() == CONTENT.tobytes()

    def read(at: int) -> bytes:
        reader = direct.DirectReader(descriptor)
        size = min(10_007, len(CONTENT) - at)
        return reader.read(at, size, direct.new_buffer(size)).tobytes()

    with ThreadPoolExecutor(4) as threads:
        assert b"".join(threads.map(read, pieces)) == CONTENT.tobytes()
    assert direct.bytes_at(descriptor, 100, len(CONTENT) - 3) == CONTENT[-3:].tobytes()
    with pytest.raises(EOFError):
        direct.read_at(descriptor, len(CONTENT) - 3, np.zeros(4, np.uint8))
    os.close(descriptor)


@pytest.mark.usefixtures("windows")
def test_a_run_is_written_and_read(tmp_path):
    run = write_toy_run(tmp_path / "run")
    stored = Run(tmp_path / "run")
    np.testing.assert_array_equal(stored.moments("toy-target").sum, run.moments("toy-target").sum)


def test_memory_comes_where_maps_have_no_flags(monkeypatch):
    class Maps:
        """The module as Windows has it: a length is all that a map needs."""

        def mmap(self, descriptor: int, size: int) -> bytearray:
            return bytearray(size)

    monkeypatch.setattr(direct, "mmap", Maps())
    assert len(direct.new_buffer(5000)) >= 5000


def test_the_package_imports_without_the_modules_of_unix():
    def imported() -> list[int]:
        for name in [name for name in sys.modules if name.split(".")[0] == "culnig"]:
            del sys.modules[name]
        for name in ("fcntl", "resource"):
            sys.modules[name] = None  # type: ignore[assignment]
        import culnig.cli.main
        from culnig.core.locks import fcntl
        from culnig.scoring.memory import _peak_of_this_process, resource

        assert fcntl is None
        assert resource is None
        return [_peak_of_this_process(), culnig.cli.main.run(["list", "benchmarks"])]

    assert in_child(imported) == [0, 0]


# macOS


def test_without_o_direct_tensors_are_read_through_the_cache(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "O_DIRECT")
    (tmp_path / "content").write_bytes(CONTENT.tobytes())
    with (tmp_path / "content").open("rb") as file:
        reader = direct.DirectReader(file.fileno())
        assert reader._uncached is None
        values = reader.read(4097, 100_000, direct.new_buffer(100_000))
    np.testing.assert_array_equal(values, CONTENT[4097:104_097])


# Any system


def calls_without_encoding(source: str) -> list[int]:
    """Lines that open a text without saying that it is UTF-8: systems differ in what they take it for."""
    lines = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func).rpartition(".")[2]
        if name not in ("open", "read_text", "write_text", "TextIOWrapper", "NamedTemporaryFile"):
            continue
        if (
            name == "open"
            and ast.unparse(node.func) not in ("open", "io.open")
            and not _is_text_of_path(node)
        ):
            continue
        words = [
            each.value
            for each in (*node.args, *(word.value for word in node.keywords))
            if isinstance(each, ast.Constant)
        ]
        is_binary = any(isinstance(word, str) and re.fullmatch(r"[rwxa+]*b[rwxa+]*", word) for word in words)
        if not is_binary and not any(word.arg in ("encoding", None) for word in node.keywords):
            lines.append(node.lineno)
    return lines


def _is_text_of_path(node: ast.Call) -> bool:
    """Whether `something.open(…)` opens a path: its arguments are modes and encodings only."""
    return all(isinstance(each, ast.Constant) for each in node.args) and bool(node.args or node.keywords)


@pytest.mark.parametrize(
    "path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.relative_to(PACKAGE).as_posix()
)
def test_texts_are_utf_8_whatever_the_system_prefers(path):
    source = re.sub(r"(?<![.\w])write_text\(", "written(", path.read_text(encoding="utf-8"))  # of store.files
    assert calls_without_encoding(source) == []


def test_the_search_for_encodings_sees_every_kind():
    source = "open(p); p.open('r'); p.read_text(); p.write_text(t); io.open(p, 'w')"
    assert len(calls_without_encoding(source)) == 5
    harmless = (
        "open(p, 'rb'); p.open('wb'); p.read_text(encoding='utf-8'); Run.open(folder, record); open_hdf5(p)"
    )
    assert calls_without_encoding(harmless) == []
