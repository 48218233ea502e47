"""Where scores of items come from: stored as they are, or made again from tensors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import NamedTuple, TypeVar

import numpy as np

from culnig.neurons import Segment
from culnig.reduction.aggregation import Aggregation, Scored
from culnig.store.data_parts import Part
from culnig.store.run import Run
from culnig.store.tensors import ITEM_SIZES, Tensors


class Source(ABC):
    """Scores of a benchmark's stored items, part after part in the order of scoring."""

    parts: Sequence[Part]

    @abstractmethod
    def scores(self, part: Part, segments: Sequence[Segment]) -> Scored:
        """Scores and peak tokens of all items of a part for consecutive segments, before confidence."""


class StoredScores(Source):
    """Level `item`."""

    def __init__(self, run: Run, benchmark: str) -> None:
        self._run = run
        self.parts = run.item_parts(benchmark)

    def scores(self, part: Part, segments: Sequence[Segment]) -> Scored:
        """See `Source`; of segments that lie side by side."""
        pieces = []
        with self._run.open_item_scores(part) as stored:
            for columns in side_by_side(segments):
                pieces.append(
                    (stored.scores(columns=columns), stored.peak_tokens(columns=columns).astype(np.int32))
                )
        scores, peaks = zip(*pieces, strict=True)
        return np.concatenate(scores, axis=1), np.concatenate(peaks, axis=1)


class _Piece(NamedTuple):
    """What is read at once."""

    segment: Segment
    rows: range
    columns: slice
    """Where its scores go."""
    number_format: str


class StoredTensors(Source):
    """Level `token`."""

    def __init__(self, run: Run, benchmark: str, aggregation: Aggregation, most_bytes: int) -> None:
        """`most_bytes`: of a pair that is read at once; an item's own pair may be larger."""
        self._run = run
        self._aggregation = aggregation
        self._most_bytes = most_bytes
        self._buffers = [np.empty(0, dtype=np.uint8)] * 2
        self.parts = run.tensor_parts(benchmark)

    def scores(self, part: Part, segments: Sequence[Segment]) -> Scored:
        """See `Source`."""
        width = sum(segment.width for segment in segments)
        scores = np.zeros((part.prompts.n_items, width), dtype=np.float32)
        peaks = np.zeros((part.prompts.n_items, width), dtype=np.int32)
        with self._run.open_tensors(part) as stored:
            pieces = list(self._pieces(stored, part, segments))
            self._make_room(part, pieces)
            reads = (
                partial(stored.pair, piece.segment, piece.rows, self._buffers[number % 2])
                for number, piece in enumerate(pieces)
            )
            for piece, pair in zip(pieces, one_ahead(reads), strict=True):
                made = self._aggregation.score(*pair, piece.number_format, part.prompts, piece.rows)
                place = slice(piece.rows.start, piece.rows.stop), piece.columns
                scores[place], peaks[place] = made
        return scores, peaks

    def _make_room(self, part: Part, pieces: Sequence[_Piece]) -> None:
        """Two buffers that every piece fits into: fresh memory for each would cost as much as the reading."""
        offsets = part.prompts.offsets
        most = max(
            (
                2
                * int(offsets[piece.rows.stop] - offsets[piece.rows.start])
                * piece.segment.width
                * ITEM_SIZES[piece.number_format]
                for piece in pieces
            ),
            default=0,
        )
        if len(self._buffers[0]) < most:
            self._buffers = [np.empty(most, dtype=np.uint8) for _ in range(2)]

    def _pieces(self, stored: Tensors, part: Part, segments: Sequence[Segment]) -> Iterator[_Piece]:
        start = 0
        for segment in segments:
            number_format = stored.number_format(segment)
            columns = slice(start, start + segment.width)
            for rows in self._groups(part, 2 * segment.width * ITEM_SIZES[number_format]):
                yield _Piece(segment, rows, columns, number_format)
            start += segment.width

    def _groups(self, part: Part, token_bytes: int) -> Iterator[range]:
        """Rows of items that are read at once."""
        begin = 0
        offsets = part.prompts.offsets
        for row in range(part.prompts.n_items):
            if row > begin and (offsets[row + 1] - offsets[begin]) * token_bytes > self._most_bytes:
                yield range(begin, row)
                begin = row
        if part.prompts.n_items:
            yield range(begin, part.prompts.n_items)


Read = TypeVar("Read")


def one_ahead(jobs: Iterable[Callable[[], Read]]) -> Iterator[Read]:
    """Results of jobs in their order; while one is being used, the next is made in another thread."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        waiting: Future[Read] | None = None
        for job in jobs:
            following = pool.submit(job)
            if waiting is not None:
                yield waiting.result()
            waiting = following
        if waiting is not None:
            yield waiting.result()


def side_by_side(segments: Sequence[Segment]) -> list[slice]:
    """Columns of segments, those that touch as one."""
    columns: list[slice] = []
    for segment in segments:
        own = segment.columns
        if columns and columns[-1].stop == own.start:
            columns[-1] = slice(columns[-1].start, own.stop)
        else:
            columns.append(own)
    return columns
