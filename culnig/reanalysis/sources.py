"""Sources of item scores: stored ones, or tensors that are reduced again."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from culnig.core.neurons import Segment
from culnig.kernels import thread_count
from culnig.reanalysis.aggregation import Aggregation, Scored, widened
from culnig.store.data_parts import Part
from culnig.store.pairs import for_each_pair
from culnig.store.run import Run


class Source(ABC):
    """Scores of a benchmark's stored items, part after part in the order of scoring."""

    parts: Sequence[Part]

    @abstractmethod
    def scores(self, part: Part, segments: Sequence[Segment]) -> Scored:
        """Scores and peak tokens of all items of a part for consecutive segments, before P(gold)."""


class StoredScores(Source):
    """Level `item`."""

    def __init__(self, run: Run, benchmark: str) -> None:
        self._run = run
        self.parts = run.item_parts(benchmark)

    def scores(self, part: Part, segments: Sequence[Segment]) -> Scored:
        """See `Source`."""
        blocks = []
        with self._run.open_item_scores(part) as stored:
            for columns in merged_columns(segments):
                blocks.append(
                    (stored.scores(columns=columns), stored.peak_tokens(columns=columns).astype(np.int32))
                )
        scores, peaks = zip(*blocks, strict=True)
        return np.concatenate(scores, axis=1), np.concatenate(peaks, axis=1)


class StoredTensors(Source):
    """Level `token`: read and scored in parallel, each block in one thread."""

    def __init__(self, run: Run, benchmark: str, aggregation: Aggregation, memory: int) -> None:
        """What is read takes at most `memory` bytes, or one item's pair where that is larger."""
        self._run = run
        self._aggregation = aggregation
        self._memory = memory
        self.parts = run.tensor_parts(benchmark)

    def scores(self, part: Part, segments: Sequence[Segment]) -> Scored:
        """See `Source`."""
        columns: dict[Segment, slice] = {}
        width = 0
        for segment in segments:
            columns[segment] = slice(width, width := width + segment.width)
        scores = np.zeros((part.prompts.n_items, width), dtype=np.float32)
        peaks = np.zeros((part.prompts.n_items, width), dtype=np.int32)
        with self._run.open_tensors(part) as stored:

            def score(
                segment: Segment, rows: range, activation: NDArray[Any], gradient: NDArray[Any]
            ) -> None:
                number_format = stored.number_format(segment)
                if stored.gradient_format(segment) != number_format:  # float32 gradients of a float16 model
                    activation, number_format = widened(activation, number_format), "float32"
                made = self._aggregation.score(activation, gradient, number_format, part.prompts, rows)
                cells = slice(rows.start, rows.stop), columns[segment]
                scores[cells], peaks[cells] = made

            threads = thread_count() if self._aggregation.is_parallel else None
            for_each_pair(stored, segments, score, memory=self._memory, threads=threads)
        return scores, peaks


def merged_columns(segments: Sequence[Segment]) -> list[slice]:
    """Columns of segments, those that touch merged."""
    columns: list[slice] = []
    for segment in segments:
        own = segment.columns
        if columns and columns[-1].stop == own.start:
            columns[-1] = slice(columns[-1].start, own.stop)
        else:
            columns.append(own)
    return columns
