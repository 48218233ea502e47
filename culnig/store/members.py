"""Groups and datasets of HDF5 files: found without following links, no larger than the file can hold."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

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


def where(group: h5py.Group, name: str) -> str:
    """File and path of a member, as messages begin."""
    return f"{group.file.filename}: {group.name.rstrip('/')}/{name}"


def group_at(root: h5py.Group, name: str) -> h5py.Group:
    """The group of that name; StoreError if it is missing."""
    return _member(root, name, h5py.Group)


def _opened(root: h5py.Group, path: str) -> Any:
    """The identifier of the object at `path`, or None; StoreError if a link is on the way."""
    at: Any = root.id
    names = path.split("/")
    for depth, text in enumerate(names, start=1):
        name = text.encode()
        if not isinstance(at, h5py.h5g.GroupID):
            return None
        try:
            kind = at.links.get_info(name).type
        except (KeyError, RuntimeError):
            return None
        if kind != h5py.h5l.TYPE_HARD:  # culnig writes no other, and they lead anywhere
            link = h5py.Group(at).get(name, getlink=True)
            to = getattr(link, "filename", "") or getattr(link, "path", "elsewhere")
            raise StoreError(
                f"{where(root, '/'.join(names[:depth]))} is a link to {to}; links are not followed"
            )
        at = h5py.h5o.open(at, name)
    return at


_KINDS = {h5py.Group: h5py.h5g.GroupID, h5py.Dataset: h5py.h5d.DatasetID}


def dataset_at(root: h5py.Group, name: str) -> h5py.Dataset:
    """The dataset of that name, unread; StoreError if it is missing, elsewhere or too large for the file."""
    return _member(root, name, h5py.Dataset)


def every_dataset(root: h5py.Group) -> Iterator[h5py.Dataset]:
    """Every dataset in a group; errors as for `dataset_at`."""
    names: list[str] = []
    root.visit(names.append)
    for name in names:
        if isinstance(_opened(root, name), h5py.h5d.DatasetID):
            yield dataset_at(root, name)


def _member(group: h5py.Group, name: str, kind: type) -> Any:
    opened = _opened(group, name)
    member = kind(opened) if isinstance(opened, _KINDS[kind]) else None
    if member is None:
        raise StoreError(f"{where(group, name)} is missing; the file is damaged or not a run of culnig")
    if isinstance(member, h5py.Dataset):
        if _is_elsewhere(member):
            raise StoreError(f"{where(group, name)} stores its data in another file; it is not read")
        check_claim(member, member.size * max(1, member.dtype.itemsize))
    return member


def _is_elsewhere(dataset: h5py.Dataset) -> bool:
    properties = dataset.id.get_create_plist()
    return bool(properties.get_layout() == h5py.h5d.VIRTUAL or properties.get_external_count())
