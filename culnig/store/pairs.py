"""Read stored pairs of activation and gradient in blocks: some threads read while others compute."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from numpy.typing import NDArray

from culnig.core.neurons import Segment
from culnig.store.data_parts import Prompts
from culnig.store.direct import new_buffer
from culnig.store.tensors import ITEM_SIZES, Tensors

_BLOCK_BYTES = 8 << 20
"""Of a pair that is read at once: long enough for the disk, short enough for the CPU's caches."""
_MORE_THREADS = 2
"""That wait for the disk, beside those that compute."""

Use = Callable[[Segment, range, NDArray[Any], NDArray[Any]], None]
"""Takes the activation and gradient (token, neuron) of a segment for some rows of items."""


def for_each_pair(
    stored: Tensors, segments: Sequence[Segment], use: Use, *, memory: int, threads: int | None
) -> None:
    """Read everything of some segments and hand it to `use`, from at most `threads` threads at once.

    With None all happens in the caller's thread. What is read takes at most `memory` bytes, or one item's
    pair where that is larger. StoreError as of `Tensors.pair`.
    """
    stored.open(segments)
    n_threads = 1 if threads is None else threads + _MORE_THREADS
    blocks = list(_blocks(stored.prompts, segments, min(_BLOCK_BYTES, memory // n_threads)))
    largest = max((_n_bytes(stored.prompts, *block) for block in blocks), default=0)
    n_threads = max(1, min(n_threads, memory // max(largest, 1)))
    # new memory for each block would cost as much as the reading
    buffers = [(new_buffer(largest // 2), new_buffer(largest // 2)) for _ in range(n_threads)]
    computing = threading.Semaphore(threads or 1)

    def read(block: tuple[Segment, range]) -> None:
        buffer = buffers.pop()
        pair = stored.pair(*block, buffer)
        with computing:
            use(*block, *pair)
        buffers.append(buffer)

    if threads is None:
        for block in blocks:
            read(block)
        return
    with ThreadPoolExecutor(n_threads) as workers:
        for _ in workers.map(read, blocks):
            pass


def _blocks(
    prompts: Prompts, segments: Sequence[Segment], most_bytes: int
) -> Iterator[tuple[Segment, range]]:
    """All items of every segment, in rows of items that stay below a size, or of one item."""
    for segment in segments:
        begin = 0
        for row in range(prompts.n_items):
            if row > begin and _n_bytes(prompts, segment, range(begin, row + 1)) > most_bytes:
                yield segment, range(begin, row)
                begin = row
        if prompts.n_items:
            yield segment, range(begin, prompts.n_items)


def _n_bytes(prompts: Prompts, segment: Segment, rows: range) -> int:
    """Of a pair in the widest number format."""
    n_tokens = int(prompts.offsets[rows.stop] - prompts.offsets[rows.start])
    return 2 * n_tokens * segment.width * max(ITEM_SIZES.values())
