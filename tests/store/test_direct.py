"""Where HDF5 keeps the values of a dataset, and memory that disks like."""

from __future__ import annotations

from pathlib import Path

import h5py
import hdf5plugin
import numpy as np

from culnig.store import direct


def test_chunks_empty_and_foreign_values_have_no_place(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        packed = file.create_dataset("packed", data=np.ones((12, 5)), chunks=(3, 5), **hdf5plugin.LZ4())
        empty = file.create_dataset("empty", (0, 5), "f4", dcpl=direct.in_one_piece())
        outside = file.create_dataset("outside", (2,), "u1", external=[(tmp_path / "raw", 0, 2)])
        assert [direct.place_in_file(each) for each in (packed, empty, outside)] == [None, None, None]


def test_memory_for_disks_begins_at_a_large_page_and_can_be_written() -> None:
    memory = direct.large_pages(3 << 20)
    assert memory.nbytes == 3 << 20
    assert memory.ctypes.data % 4096 == 0
    memory[:] = 7
    assert memory.sum() == 7 * memory.nbytes
