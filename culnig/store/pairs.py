"""Stored pairs of activation and gradient, piece by piece: threads wait for the disk while others compute."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from numpy.typing import NDArray

from culnig.core.neurons import Segment
from culnig.store.data_parts import Prompts
from culnig.store.piece_reader import room_for
from culnig.store.tensors import ITEM_SIZES, Tensors

_PIECE_BYTES = 8 << 20
"""A pair is read at once up to this size: long enough for the disk, short enough for the CPU's caches."""
_MORE_THREADS = 2
"""Than may compute, to wait for the disk."""

Use = Callable[[Segment, range, NDArray[Any], NDArray[Any]], None]
"""What is done with the activation and gradient (token, neuron) of a segment for some rows of items."""


def for_each_pair(
    stored: Tensors, segments: Sequence[Segment], use: Use, *, memory: int, threads: int | None
) -> None:
    """Read everything of some segments and hand it to `use`, from at most `threads` threads at once.

    With None all happens in the caller's thread. `memory` in bytes is kept by what is read; an item's own
    pair may be larger. StoreError as of `Tensors.pair`.
    """
    stored.open(segments)
    most_threads = 1 if threads is None else threads + _MORE_THREADS
    pieces = list(_pieces(stored.prompts, segments, min(_PIECE_BYTES, memory // most_threads)))
    most = max((_n_bytes(stored.prompts, *piece) for piece in pieces), default=0)
    n_rooms = max(1, min(most_threads, memory // max(most, 1)))
    # fresh memory for each piece would cost as much as the reading
    rooms = [(room_for(most // 2), room_for(most // 2)) for _ in range(n_rooms)]
    computing = threading.Semaphore(threads or 1)

    def read(piece: tuple[Segment, range]) -> None:
        own = rooms.pop()
        pair = stored.pair(*piece, own)
        with computing:
            use(*piece, *pair)
        rooms.append(own)

    if threads is None:
        for piece in pieces:
            read(piece)
        return
    for piece in pieces[:1]:  # shows where the file is
        read(piece)
    n_threads = n_rooms if stored.waits_for_disk else min(n_rooms, threads)
    with ThreadPoolExecutor(n_threads) as workers:
        for _ in workers.map(read, pieces[1:]):
            pass


def _pieces(
    prompts: Prompts, segments: Sequence[Segment], most_bytes: int
) -> Iterator[tuple[Segment, range]]:
    """Every segment for all items, in rows of items that stay below a size where one item does."""
    for segment in segments:
        begin = 0
        for row in range(prompts.n_items):
            if row > begin and _n_bytes(prompts, segment, range(begin, row + 1)) > most_bytes:
                yield segment, range(begin, row)
                begin = row
        if prompts.n_items:
            yield segment, range(begin, prompts.n_items)


def _n_bytes(prompts: Prompts, segment: Segment, rows: range) -> int:
    """Of a pair in the widest format."""
    n_tokens = int(prompts.offsets[rows.stop] - prompts.offsets[rows.start])
    return 2 * n_tokens * segment.width * max(ITEM_SIZES.values())
