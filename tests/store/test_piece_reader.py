"""Bytes come as they are in the file, whichever way they are read."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import numpy as np
import pytest

from culnig.store import direct, piece_reader
from culnig.store.piece_reader import PieceReader, room_for

CONTENT = np.random.default_rng(0).integers(0, 256, 5_000_001, dtype=np.uint8)
PLACES = [0, 1, 16, 4095, 4096, 12_345, 4_000_000]
SIZES = [0, 1, 4096, 4097, 700_000, 1_000_001]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "content"
    made.write_bytes(CONTENT.tobytes())
    return made


@contextlib.contextmanager
def reader(path: Path, *, cached: bool = False) -> Iterator[PieceReader]:
    """A reader, as it is when something was not in the file cache, or when everything was."""
    with path.open("rb") as file, contextlib.closing(PieceReader(file.fileno())) as made:
        made.all_cached = cached
        yield made


def read(made: PieceReader, place: int, n_bytes: int) -> np.ndarray:
    return made.read(place, n_bytes, room_for(n_bytes))


class Calls:
    """What the system is asked for: (descriptor, place, bytes, flags); `answer` may act for it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, answer: Callable[..., int] = os.preadv) -> None:
        self.seen: list[tuple[int, int, int, int]] = []
        self._answer = answer
        self._real = os.preadv
        monkeypatch.setattr(os, "preadv", self)

    def __call__(self, descriptor: int, views: list[memoryview], place: int, flags: int = 0) -> int:
        self.seen.append((descriptor, place, len(views[0]), flags))
        return self._answer(descriptor, views, place, flags)

    def of(self, descriptor: int | None) -> list[tuple[int, int]]:
        """Place and bytes of what one descriptor was asked for."""
        return [(place, n_bytes) for asked, place, n_bytes, _ in self.seen if asked == descriptor]


def require_past_cache(made: PieceReader) -> int:
    if made._uncached is None:
        pytest.skip("this file system knows no reading past the cache")
    return made._uncached


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("n_bytes", SIZES)
@pytest.mark.parametrize("way", ["cached", "past the cache", "through the cache"])
def test_every_way_gives_the_bytes_of_the_file(path: Path, place: int, n_bytes: int, way: str) -> None:
    with reader(path, cached=way == "cached") as made:
        if way == "through the cache":
            made._goes_past = False
        found = read(made, place, n_bytes)
    np.testing.assert_array_equal(found, CONTENT[place : place + n_bytes])
    assert found.ctypes.data % 16 == 0


def test_whole_blocks_are_read_past_the_cache_and_nothing_else(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with reader(path) as made:
        calls = Calls(monkeypatch)
        past = require_past_cache(made)
        for place in PLACES:
            read(made, place, 100_000)
        assert [place for place, _ in calls.of(past)] == [place // 4096 * 4096 for place in PLACES]
        assert all(n_bytes % 4096 == 0 for _, n_bytes in calls.of(past))
        assert len(calls.seen) == len(PLACES)


def test_what_is_in_the_cache_is_not_asked_of_the_disk(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with reader(path, cached=True) as made:
        calls = Calls(monkeypatch)
        np.testing.assert_array_equal(read(made, 5, 100_000), CONTENT[5:100_005])
        if not made.all_cached:
            pytest.skip("this file system does not say what is in its cache")
        assert {flags for *_, flags in calls.seen} == {os.RWF_NOWAIT}
        with pytest.raises(EOFError):
            read(made, len(CONTENT) - 7, 8)
        assert not made.all_cached


def test_the_first_bytes_that_are_not_cached_end_the_looking_there(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.preadv

    def not_cached(descriptor: int, views: list[memoryview], place: int, flags: int) -> int:
        if flags:
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
        return real(descriptor, views, place)

    with reader(path, cached=True) as made:
        calls = Calls(monkeypatch, not_cached)
        for place in (0, 10, 20):
            np.testing.assert_array_equal(read(made, place, 9), CONTENT[place : place + 9])
        assert not made.all_cached
        assert [flags != 0 for *_, flags in calls.seen] == [True, False, False, False]


@pytest.mark.parametrize("most", [500, 4096, 8192])
def test_a_read_that_is_cut_short_goes_on(path: Path, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    real = os.preadv
    with reader(path) as made:
        Calls(monkeypatch, lambda to, views, at, flags: real(to, [views[0][:most]], at))
        np.testing.assert_array_equal(read(made, 5000, 60_000), CONTENT[5000:65_000])


def test_a_file_system_that_refuses_blocks_is_asked_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.preadv
    with reader(path) as made:
        past = require_past_cache(made)

        def refused(descriptor: int, views: list[memoryview], place: int, flags: int) -> int:
            if descriptor == past:
                raise OSError(errno.EINVAL, "Invalid argument")
            return real(descriptor, views, place)

        calls = Calls(monkeypatch, refused)
        for place in PLACES:
            np.testing.assert_array_equal(read(made, place, 9000), CONTENT[place : place + 9000])
        assert len(calls.of(past)) == 1


def test_a_file_system_without_it_is_read_through_the_cache(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(piece_reader, "opened_past_cache", lambda path, access: None)
    with reader(path) as made:
        np.testing.assert_array_equal(read(made, 7, 9000), CONTENT[7:9007])


@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize("place", [len(CONTENT) - 11, 10**8, 2**63 - 1, 2**63, 2**64 - 1])
def test_a_place_beyond_the_file_is_its_end(path: Path, place: int, cached: bool) -> None:
    with reader(path, cached=cached) as made, pytest.raises(EOFError):
        read(made, place, 12)


def test_a_disk_that_fails_is_not_taken_for_the_end_of_the_file(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*asked: object) -> int:
        raise OSError(errno.EIO, "Input/output error")

    with reader(path) as made:
        Calls(monkeypatch, failing)
        with pytest.raises(OSError, match="Input/output error"):
            read(made, 0, 100)


def test_threads_read_side_by_side(path: Path) -> None:
    places = np.random.default_rng(1).integers(0, 4_000_000, 400).tolist()
    with reader(path) as made, ThreadPoolExecutor(8) as threads:
        for place, found in zip(places, threads.map(lambda at: read(made, at, 90_001), places), strict=True):
            np.testing.assert_array_equal(found, CONTENT[place : place + 90_001])


def test_it_reads_what_h5py_wrote(tmp_path: Path) -> None:
    values = np.arange(60, dtype=np.float32).reshape(12, 5)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["values"] = values
    with (
        h5py.File(tmp_path / "x.h5") as file,
        contextlib.closing(PieceReader(file.id.get_vfd_handle())) as made,
    ):
        place = direct.place_in_file(file["values"])
        assert place is not None
        found = read(made, place + 2 * 5 * 4, 3 * 5 * 4)
    np.testing.assert_array_equal(found.view(np.float32).reshape(3, 5), values[2:5])


def test_nothing_stays_open(path: Path) -> None:
    def n_open() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    if not Path("/proc/self/fd").is_dir():
        pytest.skip("this system does not say what is open")
    before = n_open()
    with reader(path) as made:
        read(made, 0, 100)
        require_past_cache(made)
        assert n_open() == before + 2
    assert n_open() == before


class Clock:
    """Time that passes when it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(time, "perf_counter", lambda: self.now)


def test_a_disk_is_judged_after_the_trial_by_the_time_it_was_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, disk = Clock(monkeypatch), piece_reader._Disk()
    with disk.reads(60 << 20):
        clock.now += 1
    assert disk.is_fast  # 63 MB/s, but not known well
    clock.now += 50  # nothing was asked
    with disk.reads(20 << 20):
        pass
    assert not disk.is_fast
    with disk.reads(500 << 20):  # 608 MB in 1.1 s
        clock.now += 0.1
    assert disk.is_fast


def test_reads_side_by_side_count_their_time_once(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, disk = Clock(monkeypatch), piece_reader._Disk()
    with disk.reads(300_000_000):
        clock.now += 0.4
        with disk.reads(300_000_000):
            clock.now += 0.4
        clock.now += 0.3
    assert disk.is_fast  # 600 MB in 1.1 s; one after the other it would be 1.5 s
    with disk.reads(0):
        clock.now += 0.11
    assert not disk.is_fast


def test_a_slow_disk_is_read_through_the_cache_so_that_reading_again_is_quick(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = piece_reader._Disk()
    monkeypatch.setattr(piece_reader, "_disk", lambda device: disk)
    monkeypatch.setattr(piece_reader, "_TRIAL_BYTES", 20_000)
    clock, real = Clock(monkeypatch), os.preadv

    def slow(descriptor: int, views: list[memoryview], place: int, flags: int) -> int:
        clock.now += len(views[0]) / 4e8
        return real(descriptor, views, place)

    with reader(path) as made:
        past = require_past_cache(made)
        calls = Calls(monkeypatch, slow)
        for place in range(0, 80_000, 8000):
            np.testing.assert_array_equal(read(made, place, 8000), CONTENT[place : place + 8000])
        assert len(calls.of(past)) == 3


def test_a_disk_is_known_by_its_device(path: Path, tmp_path: Path) -> None:
    (tmp_path / "other").write_bytes(b"x")
    with reader(path) as one, reader(tmp_path / "other") as other:
        assert one._disk is other._disk
    assert piece_reader._disk(-1) is not one._disk
