"""What an HDF5 file claims to hold, against what it can hold."""

from __future__ import annotations

import h5py

from culnig.errors import StoreError

_SMALL_CLAIM = 64 << 20
_MOST_COMPRESSION = 1000


def check_claim(member: h5py.HLObject, n_bytes: int) -> None:
    """StoreError for values that would fill far more memory than the whole file can hold.

    HDF5 stores nothing for chunks that were never written, so a small file can claim any size.
    """
    size = int(member.file.id.get_filesize())
    if n_bytes > _SMALL_CLAIM + _MOST_COMPRESSION * size:
        raise StoreError(
            f"{member.file.filename}: {member.name} claims {n_bytes / 1e9:.1f} GB, but the file has "
            f"{size / 1e6:.2f} MB; it is damaged"
        )
