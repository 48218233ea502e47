"""Where scores of items come from: stored as they are, or made again from tensors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from culnig.kernels import thread_count
from culnig.neurons import Segment
from culnig.reduction.aggregation import Aggregation, Scored
from culnig.store.data_parts import Part
from culnig.store.run import Run
from culnig.store.tensors import ITEM_SIZES

_PIECE_BYTES = 8 << 20
"""A pair is read at once up to this size: long enough for the disk, short enough for the caches."""

_PIECES_AHEAD = 4
"""The disk is told of a piece when there are so many before it."""


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
    n_bytes: int
    """At most: of its pair in the widest format."""


class StoredTensors(Source):
    """Level `token`: pieces of it are read and scored side by side, each in one thread."""

    def __init__(self, run: Run, benchmark: str, aggregation: Aggregation, memory: int) -> None:
        """`memory` in bytes is kept by what is read; an item's own pair may be larger."""
        self._run = run
        self._aggregation = aggregation
        self._memory = memory
        self.parts = run.tensor_parts(benchmark)

    def scores(self, part: Part, segments: Sequence[Segment]) -> Scored:
        """See `Source`."""
        width = sum(segment.width for segment in segments)
        scores = np.zeros((part.prompts.n_items, width), dtype=np.float32)
        peaks = np.zeros((part.prompts.n_items, width), dtype=np.int32)
        with self._run.open_tensors(part) as stored:
            pieces = list(self._pieces(part, segments))
            most = max((piece.n_bytes for piece in pieces), default=0)
            n_workers = max(1, min(thread_count(), self._memory // max(most, 1), len(pieces)))
            # fresh memory for each piece would cost as much as the reading
            buffers = [np.empty(most, dtype=np.uint8) for _ in range(n_workers)]

            def score(piece: _Piece, later: _Piece | None) -> None:
                if later:
                    stored.expect(later.segment, later.rows)
                buffer = buffers.pop()
                pair = stored.pair(piece.segment, piece.rows, buffer)
                number_format = stored.number_format(piece.segment)
                made = self._aggregation.score(*pair, number_format, part.prompts, piece.rows)
                buffers.append(buffer)
                place = slice(piece.rows.start, piece.rows.stop), piece.columns
                scores[place], peaks[place] = made

            with ThreadPoolExecutor(n_workers if self._aggregation.is_parallel else 1) as workers:
                later = [*pieces[_PIECES_AHEAD:], *[None] * _PIECES_AHEAD]
                for _ in workers.map(score, pieces, later):
                    pass
        return scores, peaks

    def _pieces(self, part: Part, segments: Sequence[Segment]) -> Iterator[_Piece]:
        start = 0
        for segment in segments:
            token_bytes = 2 * segment.width * max(ITEM_SIZES.values())
            for rows in self._groups(part, token_bytes):
                n_tokens = int(part.prompts.offsets[rows.stop] - part.prompts.offsets[rows.start])
                columns = slice(start, start + segment.width)
                yield _Piece(segment, rows, columns, n_tokens * token_bytes)
            start += segment.width

    def _groups(self, part: Part, token_bytes: int) -> Iterator[range]:
        """Rows of items that are read at once."""
        begin = 0
        offsets = part.prompts.offsets
        most = min(_PIECE_BYTES, self._memory // thread_count())
        for row in range(part.prompts.n_items):
            if row > begin and (offsets[row + 1] - offsets[begin]) * token_bytes > most:
                yield range(begin, row)
                begin = row
        if part.prompts.n_items:
            yield range(begin, part.prompts.n_items)


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
