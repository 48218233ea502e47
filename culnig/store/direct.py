"""Values of unchunked datasets, read and written at their place in the file, past HDF5.

HDF5 lets one thread in at a time and copies what it is given; the operating system takes a list of pieces as
they lie in memory, from any thread. What is stored is the same HDF5 file.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from culnig.errors import StoreError

_MOST_PIECES = 512
"""Of one call; systems allow at least 1,024."""


def in_one_piece() -> h5py.h5p.PropDCID:
    """How a dataset is made that has its place in the file from the start."""
    how = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    how.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    how.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    return how


def place_in_file(dataset: h5py.Dataset) -> int | None:
    """Where the values begin, in bytes; None where they are in chunks, empty or in other files."""
    if dataset.chunks is not None or dataset.is_virtual or dataset.external:
        return None
    place = dataset.id.get_offset()
    return None if place is None else int(place)


def write_pieces(descriptor: int, place: int, pieces: Sequence[NDArray[Any]]) -> None:
    """Write arrays one after the other from `place` on. OSError where the disk refuses."""
    views = [np.ascontiguousarray(piece).data.cast("B") for piece in pieces if piece.nbytes]
    while views:
        written = os.pwritev(descriptor, views[:_MOST_PIECES], place)
        place += written
        while views and written >= len(views[0]):
            written -= len(views.pop(0))
        if written:
            views[0] = views[0][written:]


def read_piece(dataset: h5py.Dataset, place: int, values: NDArray[Any]) -> None:
    """Fill a contiguous array from `place` on; StoreError where the file ends before."""
    view = values.reshape(-1).view(np.uint8).data
    descriptor = dataset.file.id.get_vfd_handle()
    while len(view):
        try:
            read = os.preadv(descriptor, [view], place)
        except (OSError, OverflowError):  # such as a place that no file has
            read = 0
        if not read:
            raise StoreError(
                f"{dataset.file.filename}: {dataset.name} cannot be read, it is damaged: the file ends in it"
            )
        place += read
        view = view[read:]
