"""Disk errors under HDF5 are kept, and the first of them is raised."""

from __future__ import annotations

import errno

import pytest

from culnig.errors import StoreError
from culnig.store.hdf5 import _DiskFile, whole_hdf5


def test_an_error_of_the_disk_is_kept_and_hidden_from_hdf5(tmp_path):
    with _DiskFile(tmp_path / "x", "w+b") as file:
        assert file.write(b"abc") == 3
        assert file.truncate(2) == 2
        assert file.failure is None
        file.truncate(-1)  # no such size
        first = file.failure
        assert first.errno == errno.EINVAL
        file.truncate(-2)
        assert file.failure is first
        assert file.write(b"more") == 4
    assert (tmp_path / "x").read_bytes() == b"ab"


def test_a_file_whose_size_could_not_be_set_does_not_appear(tmp_path, monkeypatch):
    def failing(self, size=None):
        self.failure = OSError(errno.EIO, "Input/output error")
        return 0

    monkeypatch.setattr(_DiskFile, "truncate", failing)
    with pytest.raises(StoreError, match="Input/output error"), whole_hdf5(tmp_path / "x.h5") as file:
        file["a"] = [1, 2]
    assert list(tmp_path.iterdir()) == []
