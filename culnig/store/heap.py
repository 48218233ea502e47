"""The heap of an HDF5 file, where it keeps the text of attributes, checked before HDF5 reads it.

HDF5 puts no checksum on its heap, and reading a damaged one can give another text or never end. So a file of
culnig records where its heaps are and what they hold, as numbers, which HDF5 does check.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

import h5py
import numpy as np
import xxhash

from culnig.errors import StoreError

HEAPS = "heaps"
"""Attribute of the root: offset, size and hash (XXH3) of each heap, (heap, 3)."""
SIGNATURE = b"GCOL"
_HEADER = 16
"""Signature, version and reserved bytes, then the size in 8 bytes."""
_BEGIN = SIGNATURE + b"\1\0\0\0"


def record_heaps(file: h5py.File, descriptor: int, offsets: Iterable[int]) -> None:
    """Record the heaps of a file that is being written; `offsets` are where they may be."""
    file.flush()
    heaps = [heap for offset in sorted(offsets) for heap in _heap_at(descriptor, offset)]
    if heaps:
        file.attrs[HEAPS] = np.array(heaps, dtype=np.uint64)


def _heap_at(descriptor: int, offset: int) -> Iterator[tuple[int, int, int]]:
    header = os.pread(descriptor, _HEADER, offset)
    size = int.from_bytes(header[8:], "little")
    if header.startswith(_BEGIN) and offset + size <= os.fstat(descriptor).st_size:
        yield offset, size, xxhash.xxh3_64_intdigest(os.pread(descriptor, size, offset))


def recorded_heaps(file: h5py.File) -> list[tuple[int, int, int]]:
    """Offset, size and hash of each heap; empty for files of earlier versions, which are not checked."""
    heaps = np.asarray(file.attrs.get(HEAPS, ()), dtype=np.uint64).reshape(-1, 3)
    return [(int(offset), int(size), int(expected)) for offset, size, expected in heaps]


def check_heaps(file: h5py.File) -> None:
    """StoreError if the text of attributes differs from what was written."""
    descriptor = file.id.get_vfd_handle()
    for offset, size, expected in recorded_heaps(file):
        if xxhash.xxh3_64_intdigest(os.pread(descriptor, size, offset)) != expected:
            raise StoreError(
                f"{file.filename}: the text of its attributes differs from what was written: it is damaged, "
                "or was edited. Put the right file back; if you edited it yourself, remove its attribute "
                f"{HEAPS!r}"
            )
