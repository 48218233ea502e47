"""Every pair comes once, whole, and within the memory that was given."""

from __future__ import annotations

import contextlib
import threading
import time

import numpy as np
import pytest

from culnig.core.neurons import Layout
from culnig.errors import StoreError
from culnig.store import pairs, schema
from culnig.store.data_parts import PartName, Prompts, read_part
from culnig.store.hdf5 import open_hdf5
from culnig.store.pairs import for_each_pair
from culnig.store.tensors import Tensors, TensorsWriter

LAYOUT = Layout.from_widths([(0, "mlp.gate_proj", 7), (0, "self_attn.q_proj", 3), (1, "mlp.gate_proj", 7)])
LENGTHS = [4, 1, 9, 2, 2, 5]
PROMPTS = Prompts.of(range(len(LENGTHS)), [[1] * length for length in LENGTHS])
VALUES = {
    segment: np.random.default_rng(segment.start).normal(size=(2, 23, segment.width)).astype(np.float32)
    for segment in LAYOUT.segments
}


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    made = tmp_path_factory.mktemp("pairs") / "part.h5"
    writer = TensorsWriter(made, PartName("1" * 64, "toy", 0, 0), PROMPTS, LAYOUT.segments, "float32")
    for segment, (activation, gradient) in VALUES.items():
        for begin, end in zip(PROMPTS.offsets, PROMPTS.offsets[1:], strict=False):
            writer.write(segment, int(begin), [activation[begin:end]], [gradient[begin:end]])
    writer.close()
    return made


@contextlib.contextmanager
def opened(path):
    part = read_part(path, schema.TENSORS_FORMAT, len(LENGTHS))
    with open_hdf5(path) as file:
        yield Tensors(file, part.prompts, LAYOUT)


@pytest.mark.parametrize("threads", [None, 1, 3])
@pytest.mark.parametrize("memory", [1, 2000, 1 << 30])
def test_every_pair_comes_once_and_whole(path, memory, threads):
    found = {segment: np.zeros_like(values) for segment, values in VALUES.items()}
    visits = {segment: np.zeros(len(LENGTHS), int) for segment in VALUES}

    def use(segment, rows, activation, gradient):
        tokens = slice(PROMPTS.offsets[rows.start], PROMPTS.offsets[rows.stop])
        found[segment][:, tokens] = activation, gradient
        visits[segment][rows.start : rows.stop] += 1

    with opened(path) as stored:
        for_each_pair(stored, LAYOUT.segments, use, memory=memory, threads=threads)
    for segment, values in VALUES.items():
        np.testing.assert_array_equal(found[segment], values)
        assert visits[segment].tolist() == [1] * len(LENGTHS)


def test_blocks_stay_below_the_memory_where_an_item_does(path):
    sizes = []
    with opened(path) as stored:
        for_each_pair(
            stored,
            [LAYOUT.segment("mlp.gate_proj", 0)],
            lambda segment, rows, activation, gradient: sizes.append((len(rows), len(activation))),
            memory=300,
            threads=None,
        )
    # a token's pair takes 56 bytes: 5 tokens fit, the item of 9 comes alone
    assert sizes == [(2, 5), (1, 9), (2, 4), (1, 5)]


class AtOnce:
    """How many threads were inside at most; they stay until that many came, or for a while."""

    def __init__(self, expected):
        self._expected = expected
        self._lock = threading.Lock()
        self._reached = threading.Event()
        self._now = 0
        self.most = 0

    def __enter__(self):
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)
        if self._now >= self._expected:
            self._reached.set()
        self._reached.wait(10)
        self._reached.set()
        time.sleep(0.02)  # others must not come now

    def __exit__(self, *error):
        with self._lock:
            self._now -= 1


def at_once(path, monkeypatch, expected, memory):
    """Threads that read, and that compute, at the same time."""
    reading, computing, real = *map(AtOnce, expected), Tensors.pair

    def pair(*asked):
        with reading:
            return real(*asked)

    def use(segment, rows, activation, gradient):
        with computing:
            pass

    with opened(path) as stored, monkeypatch.context() as patched:
        patched.setattr(Tensors, "pair", pair)
        for_each_pair(stored, LAYOUT.segments, use, memory=memory, threads=2)
    return reading.most, computing.most


def test_more_threads_read_than_compute(path, monkeypatch):
    monkeypatch.setattr(pairs, "_BLOCK_BYTES", 1)
    assert at_once(path, monkeypatch, (4, 2), 1 << 20) == (4, 2)
    assert at_once(path, monkeypatch, (3, 2), 3 * 9 * 56) == (3, 2)  # so many of the largest fit
    assert at_once(path, monkeypatch, (1, 1), 1) == (1, 1)


def test_nothing_is_read_of_no_segments(path):
    with opened(path) as stored:
        for_each_pair(
            stored, [], lambda *pair: pytest.fail("nothing was asked for"), memory=1 << 20, threads=2
        )


def test_without_threads_the_callers_thread_does_all(path, monkeypatch):
    monkeypatch.setattr(pairs, "_BLOCK_BYTES", 1)
    seen = set()
    with opened(path) as stored:
        for_each_pair(
            stored,
            LAYOUT.segments,
            lambda *pair: seen.add(threading.current_thread()),
            memory=1 << 20,
            threads=None,
        )
    assert seen == {threading.current_thread()}


def test_what_goes_wrong_in_a_thread_comes_out(path):
    def use(segment, rows, activation, gradient):
        if segment == LAYOUT.segments[2]:
            raise StoreError("no")

    with opened(path) as stored, pytest.raises(StoreError, match="no"):
        for_each_pair(stored, LAYOUT.segments, use, memory=1 << 20, threads=2)
