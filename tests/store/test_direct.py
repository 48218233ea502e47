"""Values past HDF5: h5py reads what is written directly, and the other way round."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import h5py
import hdf5plugin
import numpy as np
import pytest

from culnig.errors import StoreError
from culnig.store import direct

VALUES = np.arange(60, dtype=np.float32).reshape(12, 5)


def written(path: Path, pieces: list[np.ndarray]) -> None:
    with h5py.File(path, "w") as file:
        dataset = file.create_dataset("group/values", VALUES.shape, "f4", dcpl=direct.in_one_piece())
        place = direct.place_in_file(dataset)
        assert place
        descriptor = os.open(path, os.O_WRONLY)
        try:
            direct.write_pieces(descriptor, place, pieces)
        finally:
            os.close(descriptor)


@pytest.mark.parametrize("cuts", [(), (3,), (1, 1, 7), tuple(range(1, 12))])
def test_h5py_reads_what_was_written_in_pieces(tmp_path: Path, cuts: tuple[int, ...]) -> None:
    written(tmp_path / "x.h5", np.split(VALUES, cuts))
    with h5py.File(tmp_path / "x.h5") as file:
        np.testing.assert_array_equal(file["group/values"], VALUES)


def test_pieces_may_be_strided_and_many(tmp_path: Path) -> None:
    wide = np.repeat(VALUES, 2, axis=1)[:, ::2]
    assert not wide.flags.c_contiguous
    written(tmp_path / "x.h5", [wide[:1], *(row[None] for row in wide[1:])])
    with h5py.File(tmp_path / "x.h5") as file:
        np.testing.assert_array_equal(file["group/values"], VALUES)


def test_a_write_that_the_system_cuts_short_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "pwritev", lambda to, views, at: os.pwrite(to, views[0][:7], at))
    written(tmp_path / "x.h5", np.split(VALUES, (4,)))
    with h5py.File(tmp_path / "x.h5") as file:
        np.testing.assert_array_equal(file["group/values"], VALUES)


def test_a_disk_that_is_full_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwritev", full)
    with pytest.raises(OSError, match="No space"):
        written(tmp_path / "x.h5", [VALUES])


def test_reads_what_h5py_wrote(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["values"] = VALUES
    with h5py.File(tmp_path / "x.h5") as file:
        place = direct.place_in_file(file["values"])
        assert place
        found = np.empty((3, 5), np.float32)
        direct.read_piece(file["values"], place + 2 * 5 * 4, found)
    np.testing.assert_array_equal(found, VALUES[2:5])


@pytest.mark.parametrize("place", [10**6, 2**63, 2**64 - 1])
def test_a_place_beyond_the_file_is_damage(tmp_path: Path, place: int) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["values"] = VALUES
    with h5py.File(tmp_path / "x.h5") as file, pytest.raises(StoreError, match="the file ends"):
        direct.read_piece(file["values"], place, np.empty(3, np.float32))


def test_chunks_empty_and_foreign_values_have_no_place(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        packed = file.create_dataset("packed", data=VALUES, chunks=(3, 5), **hdf5plugin.LZ4())
        empty = file.create_dataset("empty", (0, 5), "f4", dcpl=direct.in_one_piece())
        outside = file.create_dataset("outside", (2,), "u1", external=[(tmp_path / "raw", 0, 2)])
        assert [direct.place_in_file(each) for each in (packed, empty, outside)] == [None, None, None]
