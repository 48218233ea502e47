"""Archives: equal folders give equal bytes, and nothing of a damaged or hostile one is written."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from culnig.errors import StoreError
from culnig.store import archive
from culnig.store.archive import MANIFEST, read_archive, write_archive

NAMES = ["b/c.json", "a.txt"]


@pytest.fixture
def pack(tmp_path) -> Path:
    folder = tmp_path / "folder"
    (folder / "b").mkdir(parents=True)
    (folder / "a.txt").write_text("tea " * 1000)
    (folder / "b" / "c.json").write_text("{}")
    (folder / "not packed").write_text("x")
    write_archive(tmp_path / "x.culnig.zip", folder, NAMES)
    return tmp_path / "x.culnig.zip"


def changed(pack: Path, entries: dict[str, bytes]) -> Path:
    """The archive with other contents of some entries."""
    out = pack.with_name("changed.culnig.zip")
    with zipfile.ZipFile(pack) as old, zipfile.ZipFile(out, "w") as new:
        for name in dict.fromkeys([*old.namelist(), *entries]):
            new.writestr(name, entries[name] if name in entries else old.read(name))
    return out


def test_files_come_back_and_equal_folders_give_equal_archives(pack, tmp_path):
    hashes = read_archive(pack, tmp_path / "out")
    assert sorted(hashes) == sorted(NAMES)
    assert (tmp_path / "out" / "a.txt").read_text() == "tea " * 1000
    assert sorted(path.name for path in (tmp_path / "out").rglob("*")) == ["a.txt", "b", "c.json"]
    again = tmp_path / "again.culnig.zip"
    write_archive(again, tmp_path / "out", NAMES[::-1])
    assert again.read_bytes() == pack.read_bytes()


def test_an_interrupted_unpacking_is_repeated(pack, tmp_path):
    (tmp_path / "out" / "b").mkdir(parents=True)
    (tmp_path / "out" / "b" / "c.json").write_text("half")
    read_archive(pack, tmp_path / "out")
    assert (tmp_path / "out" / "b" / "c.json").read_text() == "{}"


def test_nothing_of_a_damaged_archive_is_written(pack, tmp_path):
    damaged = changed(pack, {"b/c.json": b"[]"})
    for folder in (None, tmp_path / "out"):
        with pytest.raises(StoreError, match=r"b/c\.json differs from what was packed"):
            read_archive(damaged, folder)
    assert not (tmp_path / "out").exists()


def test_every_damaged_byte_is_found_or_harmless(pack, tmp_path):
    """A byte at a time: the same files come out, or an error of ours."""
    content, expected = pack.read_bytes(), read_archive(pack)
    path = tmp_path / "damaged.culnig.zip"
    for number in range(0, len(content), 7):
        path.write_bytes(content[:number] + bytes([content[number] ^ 0x55]) + content[number + 1 :])
        try:
            assert read_archive(path) == expected
        except StoreError:
            continue


@pytest.mark.parametrize(
    "name", ["../outside.txt", "/outside.txt", "a/../../outside.txt", "C:outside.txt", "..\\outside.txt"]
)
def test_an_archive_that_would_write_elsewhere_is_refused(pack, tmp_path, name):
    with zipfile.ZipFile(pack) as old:
        manifest = json.loads(old.read(MANIFEST))
    manifest["files"][name] = "0" * 64
    evil = changed(pack, {MANIFEST: json.dumps(manifest).encode(), name: b"x"})
    with pytest.raises(StoreError, match="would be written outside the folder"):
        read_archive(evil, tmp_path / "out")
    assert not list(tmp_path.rglob("outside.txt"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("content", [b"", b"no zip file", b"PK\x05\x06" + b"\0" * 18])
def test_what_is_no_archive_is_refused(tmp_path, content):
    path = tmp_path / "x.culnig.zip"
    path.write_bytes(content)
    with pytest.raises(StoreError, match="cannot be read as a pack"):
        read_archive(path)
    with pytest.raises(StoreError, match="no such file"):
        read_archive(tmp_path / "none.culnig.zip")


@pytest.mark.parametrize("manifest", [b"{", b"[]", b'{"format": "x", "format_version": 1, "files": {}}'])
def test_another_programs_archive_is_refused(pack, manifest):
    with pytest.raises(StoreError, match=r"manifest\.json"):
        read_archive(changed(pack, {MANIFEST: manifest}))


def test_a_disk_that_cannot_hold_the_files_is_told_before(pack, tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "free_space", lambda folder: 100)
    with pytest.raises(StoreError, match="more than the disk"):
        read_archive(pack, tmp_path / "out")
    assert not (tmp_path / "out").exists()
