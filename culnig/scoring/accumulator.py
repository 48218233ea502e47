"""From captured pairs to culture sums.

A batch may have to be begun again when memory runs out in the middle of its backward pass. By then some
modules have added their sums and others have not; each adds all items of a batch or none, so the accumulator
notes which are in, and the second time it adds only the others. Nothing is copied or subtracted.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from culnig import kernels
from culnig.core.moments import CultureMoments
from culnig.core.neurons import Layout, Segment
from culnig.errors import NonFiniteError, PluginError
from culnig.inference.batches import Batch
from culnig.kernels import ScoreBatch, ScoreTables
from culnig.kernels.base import Backend
from culnig.kernels.choice import choose_backend
from culnig.scorers.base import Pair, Scorer, Target
from culnig.scoring.joining import JoinedScores, located
from culnig.scoring.keeping import Keeper

if TYPE_CHECKING:
    import torch

Added = frozenset[int]
"""Segments, by their start in the layout, whose scores of a batch are in the sums."""


class Accumulator:
    """Feeds captured pairs to the kernel; counts of a batch are added once, when it is through."""

    def __init__(
        self,
        moments: CultureMoments,
        layout: Layout,
        aggregator: str,
        *,
        clamp_at_zero: bool,
        keeper: Keeper | None = None,
        others: Sequence[tuple[Scorer, CultureMoments]] = (),
    ) -> None:
        """`others` are scorers beside gradient × activation, each with its own sums."""
        self._keeper = keeper
        self._others = others
        self._moments = moments
        self._layout = layout
        self._aggregator = aggregator
        self._clamp_at_zero = clamp_at_zero
        self._backends: dict[torch.device, Backend] = {}
        self._added: set[int] = set()

    @property
    def added(self) -> Added:
        """Segments that hold the scores of the batch under way."""
        return frozenset(self._added)

    def begin(self, batch: Batch, added: Added = frozenset()) -> None:
        """Set what the pairs of the coming backward pass belong to, and which segments have them already."""
        self._batch = batch
        self._added = set(added)
        self._collecting: tuple[Target, float] | None = None
        self._gradients: dict[Target, dict[int, torch.Tensor]] = {}

    def weigh(self, p_gold: torch.Tensor, wrong: torch.Tensor | None = None) -> None:
        """Set P(gold), and that of the most probable wrong label, of the batch's items, shape (item,)."""
        self._p_gold = p_gold.double().cpu().numpy()
        self._wrong = None if wrong is None else wrong.double().cpu().numpy()
        self._culture_index = np.array(
            [self._moments.cultures.index(encoded.item.culture) for encoded in self._batch.items]
        )
        self._score_batch = ScoreBatch(
            self._batch.token_mask, self._p_gold, self._culture_index, self._clamp_at_zero
        )

    @contextlib.contextmanager
    def collecting(self, target: Target, share: float = 1.0) -> Iterator[None]:
        """Keep the gradients of a backward pass as (a share of) those of `target`; nothing is added."""
        self._collecting = target, share
        try:
            yield
        finally:
            self._collecting = None

    def _collect(self, segment: Segment, gradient: torch.Tensor, target: Target, share: float) -> None:
        kept = self._gradients.setdefault(target, {})
        part = gradient.detach().float() * share
        kept[segment.start] = part if segment.start not in kept else kept[segment.start].add_(part)

    def backend_of(self, device: torch.device) -> Backend:
        """The kernels for tensors of a device."""
        if device not in self._backends:
            self._backends[device] = choose_backend(device)
        return self._backends[device]

    def add(self, segment: Segment, activation: torch.Tensor, gradient: torch.Tensor) -> None:
        """Reduce one module's pair and add it to the culture sums."""
        if segment.start in self._added:
            return
        if self._collecting is not None:
            self._collect(segment, gradient, *self._collecting)
            return
        columns = segment.columns
        kept = self._keeper.tables(segment, self._batch) if self._keeper else ()
        if self._keeper:
            # before the sums: where memory runs out in between, the second attempt only writes it again
            self._keeper.keep(segment, self._batch, activation, gradient)
        others = self._other_scores(segment, activation, gradient)
        try:
            self.backend_of(activation.device).score_reduce(
                activation,
                gradient,
                self._score_batch,
                ScoreTables(*_sums(self._moments, columns), *kept),
                self._aggregator,
            )
        except NonFiniteError as error:
            raise located(error, segment, self._batch.items[error.item]) from None
        for (scorer, moments), scores in zip(self._others, others, strict=True):
            self._add_scores(scorer, moments, scores, columns)
        self._added.add(segment.start)

    def joining(self) -> JoinedScores:
        """Where the scores of the batch are put together whose items come in parts."""
        return JoinedScores(
            self._batch, self._layout, self._aggregator, self.backend_of, peaks=self._keeper is not None
        )

    def add_joined(self, joined: JoinedScores) -> None:
        """Add the scores of all neurons of the batch to the culture sums."""
        scores, peaks = joined.finish()
        if self._keeper is not None:
            for segment in self._layout.segments:
                kept_scores, kept_peaks = self._keeper.tables(segment, self._batch)
                if kept_scores is not None and kept_peaks is not None and peaks is not None:
                    kept_scores[...] = scores[:, segment.columns]
                    kept_peaks[...] = peaks[:, segment.columns]
        kernels.add_scores(scores, self._score_batch, ScoreTables(*_sums(self._moments, slice(None))))

    def _other_scores(
        self, segment: Segment, activation: torch.Tensor, gradient: torch.Tensor
    ) -> list[NDArray[np.float32]]:
        """Item scores of the other scorers; all are made before any is added, in case memory runs out."""
        if not self._others:
            return []
        import torch

        with torch.no_grad():
            pair = Pair(
                activation.detach(),
                gradient.detach(),
                torch.from_numpy(self._batch.token_mask).to(activation.device),
                {target: kept.pop(segment.start) for target, kept in self._gradients.items()},
            )
            return [scorer.item_scores(pair).float().cpu().numpy() for scorer, _ in self._others]

    def _add_scores(
        self, scorer: Scorer, moments: CultureMoments, scores: NDArray[np.float32], columns: slice
    ) -> None:
        expected = (len(self._batch.items), columns.stop - columns.start)
        if scores.shape != expected:
            raise PluginError(
                f"scorer {scorer.name!r} made scores of shape {scores.shape}; (item, neuron) = {expected} is "
                "needed"
            )
        weight = {"gold": self._p_gold, "wrong": self._wrong, None: None}[scorer.weight]
        scored = ScoreBatch(
            weight=np.ones(len(scores)) if weight is None else weight,
            culture_index=self._culture_index,
            clamp_at_zero=self._clamp_at_zero and scorer.weight is not None,
        )
        kernels.add_scores(scores, scored, ScoreTables(*_sums(moments, columns)))

    def finish(self) -> None:
        """Count the batch's items."""
        for moments in (self._moments, *(moments for _, moments in self._others)):
            np.add.at(moments.n_items, self._culture_index, 1)
            np.add.at(moments.p_gold_sum, self._culture_index, self._p_gold)
        self._added.clear()


def _sums(moments: CultureMoments, columns: slice) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """The tables that a kernel adds to, for some neurons."""
    return (
        moments.sum[:, columns],
        moments.sum_of_squares[:, columns],
        moments.positive_count[:, columns],
    )
