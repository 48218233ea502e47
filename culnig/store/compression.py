"""Compression and checksums of datasets.

Datasets are in chunks with a Fletcher-32 checksum over the packed bytes: a flipped bit is an error on
reading, not another number. Tensors have hashes of their own (culnig.store.tensors).
"""

from __future__ import annotations

from typing import Any, Literal

import h5py
import hdf5plugin
import numpy as np
from numpy.typing import DTypeLike, NDArray

Compression = Literal["none", "fast", "default"]
COMPRESSIONS: tuple[Compression, ...] = ("none", "fast", "default")

_CHUNK_BYTES = 1 << 19


def packed(compression: Compression) -> dict[str, Any]:
    """Options of `create_dataset` for parts and item scores: Blosc2 with zstd or LZ4, or checksums alone."""
    options: dict[str, Any] = {"fletcher32": True}
    if compression == "none":
        return options
    codec: Literal["lz4", "zstd"] = "lz4" if compression == "fast" else "zstd"
    return options | dict(hdf5plugin.Blosc2(cname=codec, clevel=1, filters=hdf5plugin.Blosc2.SHUFFLE))


def built_in(compression: Compression, dtype: DTypeLike) -> dict[str, Any]:
    """Options of `create_dataset` for the tables of `scores.h5`, which any HDF5 reader opens.

    Counts are packed with gzip unless `compression` is none. Sums are not: they shrink by an eighth only, and
    HDF5 has nothing faster than gzip, which takes longer than adding them up.
    """
    options: dict[str, Any] = {"fletcher32": True}
    if compression == "none" or np.dtype(dtype).kind == "f":
        return options
    return options | {"shuffle": True, "compression": "gzip", "compression_opts": 1}


def row_chunks(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    """Chunks of a (row, column) table: an equal part of one row."""
    parts = max(1, -(-shape[1] * itemsize // _CHUNK_BYTES))
    return 1, -(-shape[1] // parts)


def tall_chunks(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    """Chunks of a (token, neuron) table: whole rows."""
    rows = max(1, _CHUNK_BYTES // max(1, shape[1] * itemsize))
    return min(rows, shape[0]), shape[1]


def write_column(group: h5py.Group, name: str, values: NDArray[Any]) -> None:
    """Write a small array with a checksum."""
    if values.size == 0 or values.ndim == 0:
        group[name] = values
        return
    chunks = (min(len(values), 4096), *values.shape[1:])
    group.create_dataset(name, data=np.ascontiguousarray(values), chunks=chunks, fletcher32=True)
