"""Values past HDF5: h5py reads what is written directly."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

import h5py
import numpy as np
import pytest

from culnig.store import direct, piece_writer

VALUES = np.arange(60, dtype=np.float32).reshape(12, 5)


def written(path: Path, pieces: list[np.ndarray]) -> None:
    with h5py.File(path, "w") as file:
        dataset = file.create_dataset("group/values", VALUES.shape, "f4", dcpl=direct.in_one_piece())
        place = direct.place_in_file(dataset)
        assert place
        with contextlib.closing(piece_writer.PieceWriter(path)) as writer:
            writer.write(place, pieces, VALUES.nbytes)


@pytest.mark.parametrize("cuts", [(), (3,), (1, 1, 7), tuple(range(1, 12))])
def test_h5py_reads_what_was_written_in_pieces(tmp_path: Path, cuts: tuple[int, ...]) -> None:
    written(tmp_path / "x.h5", np.split(VALUES, cuts))
    with h5py.File(tmp_path / "x.h5") as file:
        np.testing.assert_array_equal(file["group/values"], VALUES)


def test_pieces_may_be_strided_and_many(tmp_path: Path) -> None:
    wide = np.repeat(VALUES, 2, axis=1)[:, ::2]
    assert not wide.flags.c_contiguous
    written(tmp_path / "x.h5", [wide[:1], *(row[None] for row in wide[1:])])
    with h5py.File(tmp_path / "x.h5") as file:
        np.testing.assert_array_equal(file["group/values"], VALUES)


def test_a_write_that_the_system_cuts_short_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "pwritev", lambda to, views, at: os.pwrite(to, views[0][:7], at))
    written(tmp_path / "x.h5", np.split(VALUES, (4,)))
    with h5py.File(tmp_path / "x.h5") as file:
        np.testing.assert_array_equal(file["group/values"], VALUES)


def test_a_disk_that_is_full_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwritev", full)
    with pytest.raises(OSError, match="No space"):
        written(tmp_path / "x.h5", [VALUES])


LARGE = np.random.default_rng(0).integers(0, 256, 9_000_001, dtype=np.uint8)


def large_written(path: Path, place: int) -> bytes:
    """A file of zeros with LARGE at a place, written in pieces of many sizes by two calls."""
    path.write_bytes(bytes(place + len(LARGE) + 5))
    with contextlib.closing(piece_writer.PieceWriter(path)) as writer:
        writer.write(place, np.split(LARGE[:5_000_000], [1, 4096, 700_001, 700_001, 4_900_000]), 5_000_000)
        writer.write(place + 5_000_000, [LARGE[5_000_000:]], len(LARGE) - 5_000_000)
    return path.read_bytes()


@pytest.mark.parametrize("place", [0, 1, 4095, 4096, 12_345])
def test_large_pieces_go_past_the_file_cache_and_touch_nothing_else(tmp_path: Path, place: int) -> None:
    assert large_written(tmp_path / "x", place) == bytes(place) + LARGE.tobytes() + bytes(5)


def counting(monkeypatch: pytest.MonkeyPatch, answer: object) -> list[int]:
    """Places that are written past the cache; `answer` does the writing."""
    seen: list[int] = []

    def pwrite(descriptor: int, view: memoryview, place: int) -> int:
        assert place % 4096 == len(view) % 4096 == 0
        seen.append(place)
        return answer(descriptor, view, place)  # type: ignore[operator]

    monkeypatch.setattr(os, "pwrite", pwrite)
    return seen


def test_whole_blocks_and_only_those_go_past_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, real_v, sizes = os.pwrite, os.pwritev, []

    def pwritev(descriptor: int, views: list[memoryview], place: int) -> int:
        sizes.append(sum(map(len, views)))
        return real_v(descriptor, views, place)

    monkeypatch.setattr(os, "pwritev", pwritev)
    seen = counting(monkeypatch, real)
    assert large_written(tmp_path / "x", 10) == bytes(10) + LARGE.tobytes() + bytes(5)
    if not seen:
        pytest.skip("this file system knows no writing past the cache")
    assert len(sizes) == 4  # a head and a tail of each call
    assert max(sizes) < 4096


def test_a_write_past_the_cache_that_is_cut_short_or_refused_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.pwrite
    counting(monkeypatch, lambda to, view, at: real(to, view[:4096], at))
    assert large_written(tmp_path / "short", 7) == bytes(7) + LARGE.tobytes() + bytes(5)

    def refused(*arguments: object) -> int:
        raise OSError(errno.EINVAL, "Invalid argument")

    seen = counting(monkeypatch, refused)
    assert large_written(tmp_path / "refused", 7) == bytes(7) + LARGE.tobytes() + bytes(5)
    assert len(seen) <= 1  # it is not tried again


def test_a_file_system_without_it_is_written_through_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(piece_writer, "opened_past_cache", lambda path, access: None)
    seen = counting(monkeypatch, os.pwrite)
    assert large_written(tmp_path / "x", 7) == bytes(7) + LARGE.tobytes() + bytes(5)
    assert not seen


def test_a_disk_that_is_full_is_told_past_the_cache_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    counting(monkeypatch, full)
    monkeypatch.setattr(os, "pwritev", full)
    with pytest.raises(OSError, match="No space"):
        large_written(tmp_path / "x", 0)
