"""Values past HDF5: h5py reads what is written directly, and what h5py wrote is read directly."""

from __future__ import annotations

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import hdf5plugin
import numpy as np
import pytest

from culnig.store.direct import contiguous, offset_in_file, read_at, write_at

CONTENT = np.random.default_rng(0).integers(0, 256, 1_000_001, dtype=np.uint8)
VALUES = np.arange(60, dtype=np.float32).reshape(12, 5)


@pytest.fixture
def descriptor(tmp_path: Path):
    (tmp_path / "content").write_bytes(CONTENT.tobytes())
    opened = os.open(tmp_path / "content", os.O_RDONLY)
    yield opened
    os.close(opened)


def read(descriptor: int, offset: int, n_bytes: int) -> np.ndarray:
    values = np.full(n_bytes, 99, dtype=np.uint8)
    read_at(descriptor, offset, values)
    return values


def test_chunked_empty_and_external_datasets_have_no_offset(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        packed = file.create_dataset("packed", data=np.ones((12, 5)), chunks=(3, 5), **hdf5plugin.LZ4())
        empty = file.create_dataset("empty", (0, 5), "f4", dcpl=contiguous())
        outside = file.create_dataset("outside", (2,), "u1", external=[(tmp_path / "raw", 0, 2)])
        assert [offset_in_file(each) for each in (packed, empty, outside)] == [None, None, None]


@pytest.mark.parametrize("offset", [0, 1, 4095, 4096, 700_000])
@pytest.mark.parametrize("n_bytes", [0, 1, 4097, 300_001])
def test_the_bytes_at_an_offset_are_read(descriptor, offset, n_bytes):
    np.testing.assert_array_equal(read(descriptor, offset, n_bytes), CONTENT[offset : offset + n_bytes])


def test_a_read_that_the_system_cuts_short_goes_on(descriptor, monkeypatch):
    real = os.preadv
    monkeypatch.setattr(os, "preadv", lambda to, views, offset: real(to, [views[0][:500]], offset))
    np.testing.assert_array_equal(read(descriptor, 5000, 60_000), CONTENT[5000:65_000])


@pytest.mark.parametrize("offset", [len(CONTENT) - 11, 10**8, 2**63 - 1, 2**63, 2**64 - 1])
def test_an_offset_beyond_the_file_is_its_end(descriptor, offset):
    with pytest.raises(EOFError):
        read(descriptor, offset, 12)


def test_a_disk_that_fails_is_not_taken_for_the_end_of_the_file(descriptor, monkeypatch):
    def failing(*asked):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "preadv", failing)
    with pytest.raises(OSError, match="Input/output error"):
        read(descriptor, 0, 100)


def test_threads_read_side_by_side(descriptor):
    offsets = np.random.default_rng(1).integers(0, 900_000, 400).tolist()
    with ThreadPoolExecutor(8) as threads:
        results = threads.map(lambda offset: read(descriptor, offset, 90_001), offsets)
        for offset, values in zip(offsets, results, strict=True):
            np.testing.assert_array_equal(values, CONTENT[offset : offset + 90_001])


def test_what_h5py_wrote_is_read(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["values"] = VALUES
    with h5py.File(tmp_path / "x.h5") as file:
        rows = read(file.id.get_vfd_handle(), offset_in_file(file["values"]) + 2 * 5 * 4, 3 * 5 * 4)
    np.testing.assert_array_equal(rows.view(np.float32).reshape(3, 5), VALUES[2:5])


def write(path: Path, arrays: list[np.ndarray]) -> None:
    with h5py.File(path, "w") as file:
        dataset = file.create_dataset("group/values", VALUES.shape, "f4", dcpl=contiguous())
        descriptor = os.open(path, os.O_WRONLY)
        try:
            write_at(descriptor, offset_in_file(dataset), arrays)
        finally:
            os.close(descriptor)


@pytest.mark.parametrize("cuts", [(), (3,), (1, 1, 7), tuple(range(1, 12))])
def test_h5py_reads_arrays_written_one_after_the_other(tmp_path, cuts):
    write(tmp_path / "x.h5", np.split(VALUES, cuts))
    with h5py.File(tmp_path / "x.h5") as file:
        np.testing.assert_array_equal(file["group/values"], VALUES)


def test_arrays_may_be_strided(tmp_path):
    wide = np.repeat(VALUES, 2, axis=1)[:, ::2]
    assert not wide.flags.c_contiguous
    write(tmp_path / "x.h5", [wide[:1], wide[1:]])
    with h5py.File(tmp_path / "x.h5") as file:
        np.testing.assert_array_equal(file["group/values"], VALUES)


def test_a_write_that_the_system_cuts_short_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "pwritev", lambda to, views, offset: os.pwrite(to, views[0][:7], offset))
    write(tmp_path / "x.h5", np.split(VALUES, (4,)))
    with h5py.File(tmp_path / "x.h5") as file:
        np.testing.assert_array_equal(file["group/values"], VALUES)


def test_a_disk_that_is_full_is_named(tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwritev", full)
    with pytest.raises(OSError, match="No space"):
        write(tmp_path / "x.h5", [VALUES])
