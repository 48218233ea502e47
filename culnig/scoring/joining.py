"""Item scores of prompts that go through the model in two parts, a prefix and the rest.

The kernel aggregates each part over its own tokens; here the two become the one score that the whole prompt
has, before P(gold), clamp and culture sums. A module that a prefix gets no gradient at (the last layer's
queries and MLP, which only the answer's token needs) contributes zero there, as it does in whole prompts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from culnig.core.neurons import Layout, Segment
from culnig.errors import NonFiniteError
from culnig.inference.batches import Batch
from culnig.inference.encoding import EncodedItem
from culnig.kernels import ScoreBatch, ScoreTables
from culnig.kernels.base import Backend

if TYPE_CHECKING:
    import torch

    from culnig.scoring.capture import Consumer

Scores = NDArray[np.float32]
Rows = NDArray[np.int64]


class _Part(NamedTuple):
    """What some tokens of each item gave, all (item, neuron)."""

    scores: Scores
    peaks: NDArray[np.int32] | None
    """Tokens that gave the scores, where they are asked for."""
    highest: Scores | None
    """Contributions of the peak tokens, where they are not the scores: for sum and mean."""

    def at(self, places: Any) -> _Part:
        """Some rows and columns."""
        return _Part(
            self.scores[places],
            None if self.peaks is None else self.peaks[places],
            None if self.highest is None else self.highest[places],
        )


class JoinedScores:
    """Scores (item, neuron) of a batch and the tokens that gave them; rests come first, then prefixes."""

    def __init__(
        self,
        batch: Batch,
        layout: Layout,
        aggregator: str,
        backend_of: Callable[[torch.device], Backend],
        *,
        peaks: bool,
    ) -> None:
        """`peaks` asks for the tokens too."""
        self._batch = batch
        self._layout = layout
        self._aggregator = aggregator
        self._adds_up = aggregator in ("sum", "mean")
        self._backend_of = backend_of
        self._with_peaks = peaks
        shape = (len(batch.items), layout.n_neurons)
        self._whole = _Part(
            np.zeros(shape, dtype=np.float32),
            np.zeros(shape, dtype=np.int32) if peaks else None,
            np.zeros(shape, dtype=np.float32) if peaks and self._adds_up else None,
        )
        self._with_prefix: set[int] = set()

    @property
    def needs_prefixes(self) -> bool:
        """Whether what happens in the prefixes matters."""
        return self._aggregator != "last"

    def rests(self, rows: Rows, mask: NDArray[np.bool_], offsets: Rows) -> Consumer:
        """Takes the pairs of the rests of the items `rows`, which begin at their tokens `offsets`."""

        def take(segment: Segment, activation: torch.Tensor, gradient: torch.Tensor) -> None:
            part = self._reduce(segment, activation, gradient, mask, rows)
            self._whole.scores[rows, segment.columns] = part.scores
            if self._whole.peaks is not None and part.peaks is not None:
                self._whole.peaks[rows, segment.columns] = part.peaks + offsets[:, None]
            if self._whole.highest is not None and part.highest is not None:
                self._whole.highest[rows, segment.columns] = part.highest

        return take

    def prefixes(self, rows: Rows, mask: NDArray[np.bool_]) -> Consumer:
        """Takes the pairs of prefixes, one of each group, with the gradients of the items `rows`.

        A group that has no such item any more has row -1.
        """
        there = rows >= 0
        mask = mask & there[:, None]

        def take(segment: Segment, activation: torch.Tensor, gradient: torch.Tensor) -> None:
            part = self._reduce(segment, activation, gradient, mask, rows)
            self._join(rows[there], segment, part.at(there))
            self._with_prefix.add(segment.start)

        return take

    def finish(self) -> tuple[Scores, NDArray[np.int32] | None]:
        """Scores and peak tokens (item, neuron) of the whole prompts."""
        if self.needs_prefixes:
            everyone = np.arange(len(self._batch.items))
            for segment in self._layout.segments:
                if segment.start not in self._with_prefix:
                    shape = (len(everyone), segment.width)
                    zeros = np.zeros(shape, dtype=np.float32)
                    self._join(everyone, segment, _Part(zeros, np.zeros(shape, dtype=np.int32), zeros))
        if self._aggregator == "mean":
            self._whole.scores[...] /= self._batch.lengths[:, None].astype(np.float32)
        return self._whole.scores, self._whole.peaks

    def _reduce(
        self,
        segment: Segment,
        activation: torch.Tensor,
        gradient: torch.Tensor,
        mask: NDArray[np.bool_],
        rows: Rows,
    ) -> _Part:
        def aggregate(aggregator: str, with_peaks: bool) -> tuple[Scores, NDArray[np.int32] | None]:
            shape = (len(rows), segment.width)
            scores = np.empty(shape, dtype=np.float32)
            peaks = np.empty(shape, dtype=np.int32) if with_peaks else None
            try:
                self._backend_of(activation.device).score_reduce(
                    activation,
                    gradient,
                    ScoreBatch(mask),
                    ScoreTables(item_scores=scores, peak_tokens=peaks),
                    aggregator,
                )
            except NonFiniteError as error:
                raise located(error, segment, self._batch.items[rows[error.item]]) from None
            return scores, peaks

        if not self._adds_up:
            return _Part(*aggregate(self._aggregator, self._with_peaks), None)
        scores, _ = aggregate("sum", False)
        if not self._with_peaks:
            return _Part(scores, None, None)
        highest, peaks = aggregate("max", True)
        return _Part(scores, peaks, highest)

    def _join(self, rows: Rows, segment: Segment, prefix: _Part) -> None:
        """Join what the prefixes gave; of equal contributions the earlier token's counts."""
        rest = self._whole.at((rows, segment.columns))
        earlier = self._strength(prefix) >= self._strength(rest)
        self._whole.scores[rows, segment.columns] = (
            prefix.scores + rest.scores if self._adds_up else np.where(earlier, prefix.scores, rest.scores)
        )
        if self._whole.peaks is not None and prefix.peaks is not None and rest.peaks is not None:
            self._whole.peaks[rows, segment.columns] = np.where(earlier, prefix.peaks, rest.peaks)

    def _strength(self, part: _Part) -> Scores:
        """What decides which token is the peak."""
        if self._adds_up and part.highest is not None:
            return part.highest
        return np.abs(part.scores) if self._aggregator == "absmax" else part.scores


def located(error: NonFiniteError, segment: Segment, encoded: EncodedItem) -> NonFiniteError:
    """The error with module, layer and item."""
    where = f"{segment.module}, layer {segment.layer} (item {encoded.item.id})"
    return NonFiniteError(error.count, error.item, error.token, error.neuron, where=where)
