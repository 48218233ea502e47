from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from culnig.errors import EnvironmentProblem, StoreError
from culnig.store import files
from culnig.store.files import read_json, whole_file, write_json
from tests.stored import document_of


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_file_appears_only_when_it_is_whole(tmp_path):
    path = tmp_path / "scores.h5"
    with whole_file(path) as temporary:
        temporary.write_bytes(b"half")
        assert not path.exists()
        assert temporary.parent == tmp_path, "a rename is only atomic within a file system"
        temporary.write_bytes(b"whole")
    assert path.read_bytes() == b"whole"
    assert names(tmp_path) == ["scores.h5"]


@pytest.mark.parametrize("stop", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_nothing_is_left_when_writing_is_stopped(tmp_path, stop):
    def write(path):
        with whole_file(path) as temporary:
            temporary.write_bytes(b"half")
            raise stop

    with pytest.raises(stop):
        write(tmp_path / "new")
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.ENOSPC, "no space to write .*free some"),
        (errno.EDQUOT, "no space to write"),
        (errno.EFBIG, "no space to write"),
        (errno.EACCES, "cannot write .*another output with out"),
        (errno.EROFS, "cannot write"),
    ],
)
def test_a_full_or_closed_disk_is_the_machines_problem_and_the_old_file_stays(tmp_path, number, message):
    path = tmp_path / "scores.h5"
    path.write_bytes(b"old")

    def write():
        with whole_file(path) as temporary:
            temporary.write_bytes(b"half")
            raise OSError(number, os.strerror(number))

    with pytest.raises(EnvironmentProblem, match=message) as caught:
        write()
    assert str(path) in str(caught.value)
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["scores.h5"]


def test_a_disk_that_is_full_only_at_the_last_sync_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "run.json"
    write_json(path, {"old": True})

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(EnvironmentProblem, match="No space left on device"):
        write_json(path, {"new": True})
    assert document_of(path) == {"old": True}
    assert names(tmp_path) == ["run.json"]


def test_temporary_files_of_others_are_not_touched_and_no_link_is_followed(tmp_path):
    (tmp_path / "run.json.tmp").write_bytes(b"mine")
    (tmp_path / "target").write_bytes(b"mine")
    (tmp_path / "run.json").symlink_to(tmp_path / "target")
    write_json(tmp_path / "run.json", {"a": 1})
    assert names(tmp_path) == ["run.json", "run.json.tmp", "target"]
    assert (tmp_path / "run.json.tmp").read_bytes() == (tmp_path / "target").read_bytes() == b"mine"
    assert not (tmp_path / "run.json").is_symlink()
    assert read_json(tmp_path / "run.json", "a run") == {"a": 1}


def test_json_keeps_every_bit_of_a_number_and_every_letter(tmp_path):
    document = {"score": [0.1, 1 / 3, 5e-324, -0.0, 1e308], "name": "Gemüse 김치 \u2028 🍲", "none": None}
    write_json(tmp_path / "x.json", document)
    assert read_json(tmp_path / "x.json", "x") == document


def test_equal_documents_give_equal_bytes(tmp_path):
    for name in ("a", "b"):
        write_json(tmp_path / name, {"neurons": [1, 2.5], "model": "toy"})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert (tmp_path / "a").read_bytes().endswith(b"}\n")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not the record"),
        (b"{", "not the record"),
        (b"\x89HDF\r\n", "not the record"),
        (b"\xff\xfe{}", "not the record"),
        (b"[1, 2]", "a JSON list, expected an object"),
        (b"3", "a JSON int, expected an object"),
        (b"null", "a JSON NoneType, expected an object"),
        (b"[" * 100_000, "not the record"),
        (b'{"layer": ' + b"1" * 5_000 + b"}", "not the record"),
    ],
    ids=["empty", "half", "binary", "utf-16", "list", "number", "null", "nested too deep", "endless number"],
)
def test_a_file_that_is_not_a_json_object_is_named(tmp_path, content, message):
    path = tmp_path / "run.json"
    path.write_bytes(content)
    with pytest.raises(StoreError, match=message) as caught:
        read_json(path, "the record of a run")
    assert str(path) in str(caught.value)


def test_a_missing_file_says_what_was_expected(tmp_path):
    with pytest.raises(StoreError, match="no such file; expected a neuron set"):
        read_json(tmp_path / "x.json", "a neuron set")


def test_a_folder_in_place_of_a_file_is_named(tmp_path):
    with pytest.raises(StoreError, match="cannot be read as a neuron set"):
        read_json(tmp_path, "a neuron set")


def test_a_name_that_no_file_system_accepts_is_a_store_error():
    with pytest.raises(StoreError, match="cannot be read"):
        read_json(Path("x" * 300), "a neuron set")


@pytest.fixture
def synced(monkeypatch):
    """What is on the disk at each fsync: the kind of what is synced, and the names beside it or in it."""
    seen = []

    def note(descriptor):
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        folder = path if path.is_dir() else path.parent
        seen.append((path.name, names(folder)))

    monkeypatch.setattr(files.os, "fsync", note)
    return seen


def test_a_file_is_synced_before_it_gets_its_name_and_the_folder_afterwards(tmp_path, synced):
    write_json(tmp_path / "run.json", {"a": 1})
    (first, before), (second, after) = synced
    assert before == [first]
    assert files.is_leftover(tmp_path / first)
    assert (second, after) == (tmp_path.name, ["run.json"])


def test_files_of_a_folder_are_synced_before_they_move_and_the_folder_afterwards(tmp_path, synced):
    with files.whole_files(tmp_path) as temporary:
        (temporary / "a").write_text("1")
        (temporary / "b").write_text("2")
    *before, last = synced
    both = ["a", "b"]
    assert before[-1] == (temporary.name, both)
    assert sorted(before[:-1]) == [("a", both), ("b", both)]
    assert last[0] == tmp_path.name
    assert {"a", "b"} <= set(last[1])
    assert names(tmp_path) == ["a", "b"]


def test_the_checksum_is_that_of_the_content_whatever_its_order():
    """SHA-256 of `{"a": 1, "b": [2]}`, as sha256sum prints it."""
    expected = "ae8a9a50524642753023cd4de34447191a8651989979c60bbcc5b0eeebb6e1dc"
    for document in ({"a": 1, "b": [2]}, {"b": [2], "a": 1}, {"b": [2], "a": 1, "checksum": "other"}):
        assert files.checksum(document) == expected
    assert files.checksum({"a": 1, "b": [3]}) != expected


def test_what_killed_processes_left_is_removed_and_nothing_else(tmp_path):
    left = (".culnig-0123456789abcdef.tmp", ".culnig-ffffffffffffffff.tmp")
    kept = (".culnig-0123456789abcde.tmp", ".culnig-0123456789abcdef.tmp2", "a.tmp", "run.json")
    for name in (left[0], *kept):
        (tmp_path / name).write_text("half")
    (tmp_path / left[1]).mkdir()
    (tmp_path / left[1] / "weights").write_text("half")
    (tmp_path / ".culnig-1111111111111111.tmp").symlink_to(tmp_path / "run.json")
    files.remove_leftovers(tmp_path)
    assert names(tmp_path) == sorted([*kept, ".culnig-1111111111111111.tmp"])
    files.remove_leftovers(tmp_path / "nowhere")
