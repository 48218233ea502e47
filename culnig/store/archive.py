"""Archives: files of a folder in one zip file, with a checksum of each, and the same bytes every time."""

from __future__ import annotations

import contextlib
import hashlib
import json
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any, BinaryIO

from culnig.errors import StoreError
from culnig.store.files import free_space, make_folder, remove_leftovers, whole_file, write_with

FORMAT = "culnig-pack"
FORMAT_VERSION = 1
MANIFEST = "manifest.json"
SUFFIX = ".culnig.zip"
_TIME = (1980, 1, 1, 0, 0, 0)
"""The earliest time of a zip file: equal files give equal archives."""
_BLOCK = 1 << 20
_MOST_MANIFEST = 64 << 20


def write_archive(
    path: Path, folder: Path, names: list[str], copies: Mapping[str, Path] = MappingProxyType({})
) -> dict[str, str]:
    """Write files of a folder into an archive, whole or not at all; returns their SHA-256 by name.

    `copies` are files that are written in place of some.
    """
    hashes: dict[str, str] = {}
    with whole_file(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(names):
            digest = hashlib.sha256()
            source = copies.get(name, folder / name)
            with source.open("rb") as file, archive.open(_entry(name), "w") as target:
                while block := file.read(_BLOCK):
                    digest.update(block)
                    target.write(block)
            hashes[name] = digest.hexdigest()
        manifest = {"format": FORMAT, "format_version": FORMAT_VERSION, "files": hashes}
        archive.writestr(_entry(MANIFEST), json.dumps(manifest, indent=1, ensure_ascii=False))
    return hashes


def is_archive(path: Path) -> bool:
    """Whether a file is named like an archive."""
    return path.name.endswith(SUFFIX)


def read_archive(path: Path, folder: Path | None = None) -> dict[str, str]:
    """Compare every file of an archive with its checksum, then write them into `folder` if there is one.

    Returns the checksums by name. StoreError if the archive is missing, foreign or damaged, or would write
    outside the folder.
    """
    with _opened(path) as archive:
        manifest = _manifest(path, archive)
        if folder is not None:
            _check_room(path, archive, manifest, folder)
        for name, expected in manifest.items():
            _check_file(path, archive, name, expected)
        if folder is not None:
            for name, expected in manifest.items():
                target = folder / name
                make_folder(target.parent)
                remove_leftovers(target.parent)
                write_with(target, partial(_check_file, path, archive, name, expected))
    return dict(manifest)


def archive_names(path: Path) -> list[str]:
    """The names of an archive's files, which are not read; StoreError as for `read_archive`."""
    with _opened(path) as archive:
        return list(_manifest(path, archive))


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """An archive while it is read; StoreError if it is missing, foreign or damaged."""
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except FileNotFoundError:
        raise StoreError(f"{path}: no such file; expected a pack of a study") from None
    except (zipfile.BadZipFile, KeyError, EOFError, NotImplementedError, RuntimeError, OSError) as error:
        raise StoreError(f"{path}: cannot be read as a pack of a study: {error}") from None
    except zlib.error as error:
        raise StoreError(f"{path}: is damaged: {error}") from None


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, _TIME)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    return entry


def _manifest(path: Path, archive: zipfile.ZipFile) -> Mapping[str, str]:
    if archive.getinfo(MANIFEST).file_size > _MOST_MANIFEST:
        raise StoreError(f"{path}: its list of files is too long; not a pack of a study")
    try:
        document: Any = json.loads(archive.read(MANIFEST))
        files = document["files"]
        known = document["format"] == FORMAT and document["format_version"] == FORMAT_VERSION
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise StoreError(f"{path}: its {MANIFEST} cannot be read: {error}") from None
    if not known or not isinstance(files, dict):
        raise StoreError(f"{path}: its {MANIFEST} is not that of a pack, version {FORMAT_VERSION}")
    for name in files:
        parts = PurePosixPath(name)
        if parts.is_absolute() or ".." in parts.parts or "\\" in name or ":" in name or name == MANIFEST:
            raise StoreError(f"{path}: {name!r} would be written outside the folder; not unpacked")
    return files


def _check_room(path: Path, archive: zipfile.ZipFile, names: Mapping[str, str], folder: Path) -> None:
    size = sum(archive.getinfo(name).file_size for name in names)
    if size > free_space(folder):
        raise StoreError(
            f"{path}: its files take {size / 1e9:.2f} GB, more than the disk of {folder} has free"
        )


def _check_file(
    path: Path, archive: zipfile.ZipFile, name: str, expected: str, target: BinaryIO | None = None
) -> None:
    """StoreError unless a file has its checksum; it is written to `target`."""
    digest = hashlib.sha256()
    with archive.open(name) as file:
        while block := file.read(_BLOCK):
            digest.update(block)
            if target is not None:
                target.write(block)
    if digest.hexdigest() != expected:
        raise StoreError(f"{path}: {name} differs from what was packed; the archive is damaged")
