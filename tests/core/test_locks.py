from __future__ import annotations

import errno
import fcntl
import subprocess
import sys

import pytest

from culnig.core.locks import NoLocks, lock, lock_name

OTHER_PROCESS = """
import sys
from pathlib import Path
from culnig.core.locks import lock
print(lock(Path(sys.argv[1])) is not None)
"""


def others_can_lock(folder) -> bool:
    command = [sys.executable, "-c", OTHER_PROCESS, str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == "True"


def test_one_process_at_a_time_and_nothing_is_left_behind(tmp_path):
    unlock = lock(tmp_path)
    assert not others_can_lock(tmp_path)
    unlock()
    assert others_can_lock(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_system_without_locks_is_told_from_a_folder_that_cannot_be_opened(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError):
        lock(tmp_path / "missing")

    def refuse(descriptor, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(NoLocks, match="No locks available"):
        lock(tmp_path)


def test_a_lock_whose_hidden_file_was_removed_still_ends(tmp_path, monkeypatch):
    unlock = lock_name(tmp_path / "set.json")
    (hidden,) = tmp_path.iterdir()
    hidden.unlink()
    unlock()

    def remove_and_refuse(descriptor, operation):
        hidden.unlink()
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", remove_and_refuse)
    with pytest.raises(NoLocks, match="No locks available"):
        lock_name(tmp_path / "set.json")
