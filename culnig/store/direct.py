"""Values of unchunked datasets, read and written at their offset in the file, past HDF5.

HDF5 admits one thread at a time and copies what it is given; the operating system serves any thread, from and
into the caller's memory. The file stays an ordinary HDF5 file.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray


def contiguous() -> h5py.h5p.PropDCID:
    """Properties of a dataset whose values have a fixed offset in the file from the start."""
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    properties.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    return properties


def offset_in_file(dataset: h5py.Dataset) -> int | None:
    """Offset of the first value in bytes; None for a dataset in chunks, empty, or stored in another file."""
    properties = dataset.id.get_create_plist()
    if properties.get_layout() != h5py.h5d.CONTIGUOUS or properties.get_external_count():
        return None
    offset = dataset.id.get_offset()
    return None if offset is None else int(offset)


def read_at(descriptor: int, offset: int, values: NDArray[np.uint8]) -> None:
    """Fill `values` with the bytes from `offset` on; from any thread.

    EOFError where the file ends before, OSError where the disk fails.
    """
    view = values.data
    while view:
        try:
            n_read = os.preadv(descriptor, [view], offset)
        except OverflowError:  # an offset that no file has
            n_read = 0
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            n_read = 0
        if not n_read:
            raise EOFError
        offset += n_read
        view = view[n_read:]


def write_at(descriptor: int, offset: int, arrays: Iterable[NDArray[Any]]) -> None:
    """Write arrays one after the other from `offset` on. OSError where the disk refuses.

    Each is asked for when it is written: the hash taken just before left it in the CPU's cache.
    """
    for array in arrays:
        view = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
        while view:
            n_written = os.pwritev(descriptor, [view], offset)
            offset += n_written
            view = view[n_written:]
