from __future__ import annotations

import h5py
import numpy as np
import pytest

from culnig.store.compression import (
    COMPRESSIONS,
    packed,
    row_chunks,
    tall_chunks,
    write_column,
)
from culnig.store.hdf5 import whole_hdf5

BLOSC2 = 32026
"""Its number in the registry of HDF5 filters."""


def filters(dataset):
    properties = dataset.id.get_create_plist()
    return [properties.get_filter(place)[0] for place in range(properties.get_nfilters())]


def write(path, options, values):
    with whole_hdf5(path) as file:
        file.create_dataset("x", data=values, chunks=(len(values),), **options)


def rounded(n=20_000):
    """Numbers that shrink: bfloat16 values as float32."""
    bits = np.random.default_rng(0).normal(size=n).astype(np.float32).view(np.uint32)
    return (bits & np.uint32(0xFFFF0000)).view(np.float32)


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_whatever_the_packing_values_come_back_and_a_checksum_is_the_last_filter(tmp_path, compression):
    write(tmp_path / "x.h5", packed(compression), rounded())
    with h5py.File(tmp_path / "x.h5") as file:
        assert filters(file["x"])[-1] == h5py.h5z.FILTER_FLETCHER32, "it must cover the packed bytes"
        np.testing.assert_array_equal(file["x"][()], rounded())


@pytest.mark.parametrize(("compression", "shrinks"), [("none", False), ("fast", True), ("default", True)])
def test_what_is_packed_and_what_is_not(tmp_path, compression, shrinks):
    path = tmp_path / "x.h5"
    write(path, packed(compression), rounded())
    with h5py.File(path) as file:
        assert (BLOSC2 in filters(file["x"])) == shrinks
    assert (path.stat().st_size < 0.8 * rounded().nbytes) == shrinks


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_every_flipped_bit_of_a_chunk_is_an_error(tmp_path, compression):
    path = tmp_path / "x.h5"
    write(path, packed(compression), rounded(50))
    with h5py.File(path) as file:
        chunk = file["x"].id.get_chunk_info(0)
    content = bytearray(path.read_bytes())
    for place in range(chunk.byte_offset, chunk.byte_offset + chunk.size):
        bit = 1 << place % 8
        content[place] ^= bit
        path.write_bytes(content)
        with h5py.File(path) as file, pytest.raises(OSError, match=r"[Cc]an't"):
            file["x"][()]
        content[place] ^= bit


@pytest.mark.parametrize("width", [1, 84, 131_072, 131_073, 1_000_003])
def test_chunks_of_rows_are_equal_parts_of_at_most_half_a_megabyte(width):
    rows, columns = row_chunks((16, width), 4)
    n_chunks = -(-width // columns)
    assert rows == 1
    assert columns * 4 <= 1 << 19
    assert n_chunks * columns - width < n_chunks, "no chunk is padded by more than a rounding"


@pytest.mark.parametrize("shape", [(1, 5), (100, 576), (10_000, 576), (7, 300_000)])
def test_chunks_of_tensors_are_whole_rows(shape):
    rows, columns = tall_chunks(shape, 4)
    assert columns == shape[1]
    assert 1 <= rows <= shape[0]
    assert rows == 1 or rows * columns * 4 <= 1 << 19


@pytest.mark.parametrize(
    "values",
    [
        np.arange(10_000),
        np.zeros((3, 4), dtype=np.float64),
        np.array([True, False]),
        np.arange(6).reshape(2, 3).T,
    ],
    ids=["long", "table", "flags", "strided"],
)
def test_a_column_comes_back_with_a_checksum(tmp_path, values):
    with whole_hdf5(tmp_path / "x.h5") as file:
        write_column(file, "x", values)
    with h5py.File(tmp_path / "x.h5") as file:
        assert file["x"].fletcher32
        np.testing.assert_array_equal(file["x"][()], values)
        assert file["x"].dtype == values.dtype


def test_an_empty_column_comes_back(tmp_path):
    with whole_hdf5(tmp_path / "x.h5") as file:
        write_column(file, "x", np.zeros((0, 4)))
    with h5py.File(tmp_path / "x.h5") as file:
        assert file["x"].shape == (0, 4)
