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
from culnig.store.direct import bytes_at

HEAPS = "heaps"
"""Attribute of the root: offset, size and hash (XXH3) of each heap, (heap, 3)."""
SIGNATURE = b"GCOL"
_HEADER = 16
"""Signature, version and reserved bytes, then the size in 8 bytes."""
_SEARCHED = 64 << 20
"""Largest file of an earlier version, in bytes, in which heaps are searched."""
_BEGIN = SIGNATURE + b"\1\0\0\0"


def record_heaps(file: h5py.File, descriptor: int, offsets: Iterable[int]) -> None:
    """Record the heaps of a file that is being written; `offsets` are where they may be."""
    file.flush()
    heaps = [heap for offset in sorted(offsets) for heap in _heap_at(descriptor, offset)]
    if heaps:
        file.attrs[HEAPS] = np.array(heaps, dtype=np.uint64)


def _heap_at(descriptor: int, offset: int) -> Iterator[tuple[int, int, int]]:
    header = bytes_at(descriptor, _HEADER, offset)
    size = int.from_bytes(header[8:], "little")
    if header.startswith(_BEGIN) and offset + size <= os.fstat(descriptor).st_size:
        yield offset, size, xxhash.xxh3_64_intdigest(bytes_at(descriptor, size, offset))


def recorded_heaps(file: h5py.File) -> list[tuple[int, int, int]]:
    """Offset, size and hash of each heap; empty for files of earlier versions, which are not checked."""
    heaps = np.asarray(file.attrs.get(HEAPS, ()), dtype=np.uint64).reshape(-1, 3)
    return [(int(offset), int(size), int(expected)) for offset, size, expected in heaps]


def check_heaps(file: h5py.File) -> None:
    """StoreError if the text of attributes differs from what was written, or cannot be read to an end."""
    descriptor = file.id.get_vfd_handle()
    if HEAPS not in file.attrs and os.fstat(descriptor).st_size <= _SEARCHED:
        _check_old(file.filename, bytes_at(descriptor, _SEARCHED, 0))
        return
    for offset, size, expected in recorded_heaps(file):
        if xxhash.xxh3_64_intdigest(bytes_at(descriptor, size, offset)) != expected:
            raise StoreError(
                f"{file.filename}: the text of its attributes differs from what was written: it is damaged, "
                "or was edited. Put the right file back; if you edited it yourself, remove its attribute "
                f"{HEAPS!r}"
            )


def _check_old(name: str, content: bytes) -> None:
    """StoreError for a heap whose objects do not fill it: HDF5 would not come to the end of it.

    HDF5 File Format Specification, III.E: each object has its index, 0 for the free space at the end, in 2
    bytes and its size in the last 8 of 16, and is padded to a multiple of 8.
    """
    begin = content.find(_BEGIN)
    while begin >= 0:
        end = begin + int.from_bytes(content[begin + 8 : begin + _HEADER], "little")
        offset = begin + _HEADER
        while offset + _HEADER <= end <= len(content):
            index = int.from_bytes(content[offset : offset + 2], "little")
            size = int.from_bytes(content[offset + 8 : offset + _HEADER], "little")
            offset += size if index == 0 else _HEADER + -(-size // 8) * 8
            if index == 0 and offset != end:
                break
        if not 0 <= end - offset < _HEADER or end > len(content):
            raise StoreError(f"{name}: its heap of texts is damaged")
        begin = content.find(_BEGIN, begin + 1)
