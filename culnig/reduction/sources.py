"""Where scores of items come from: stored as they are, or made again from tensors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

import numpy as np

from culnig.neurons import Segment
from culnig.reduction.aggregation import Aggregation, Scored
from culnig.store.data_parts import Part
from culnig.store.run import Run
from culnig.store.tensors import ITEM_SIZES


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


class StoredTensors(Source):
    """Level `token`."""

    def __init__(self, run: Run, benchmark: str, aggregation: Aggregation, most_bytes: int) -> None:
        """`most_bytes`: of a pair that is read at once; an item's own pair may be larger."""
        self._run = run
        self._aggregation = aggregation
        self._most_bytes = most_bytes
        self.parts = run.tensor_parts(benchmark)

    def scores(self, part: Part, segments: Sequence[Segment]) -> Scored:
        """See `Source`."""
        width = sum(segment.width for segment in segments)
        scores = np.zeros((part.prompts.n_items, width), dtype=np.float32)
        peaks = np.zeros((part.prompts.n_items, width), dtype=np.int32)
        start = 0
        with self._run.open_tensors(part) as stored:
            for segment in segments:
                number_format = stored.number_format(segment)
                columns = slice(start, start + segment.width)
                for rows in self._groups(part, 2 * segment.width * ITEM_SIZES[number_format]):
                    pair = stored.pair(segment, rows)
                    made = self._aggregation.score(*pair, number_format, part.prompts, rows)
                    scores[rows.start : rows.stop, columns], peaks[rows.start : rows.stop, columns] = made
                start += segment.width
        return scores, peaks

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
