"""From captured pairs to culture sums.

A batch is run again in halves when memory runs out in the middle of its backward pass. By then some segments
have their scores in the sums and others do not; each adds all items of a batch or none. The accumulator
remembers which segments have which items, and adds only the others the second time. Nothing is copied or
subtracted. The same serves a pass whose gradients overflow: it is repeated with a smaller target.

Targets are multiplied by powers of two (`culnig.scoring.scaling`). They are taken out again here: of the sums
through the weight, of everything else in float32.
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from culnig import kernels
from culnig.core.moments import CultureMoments
from culnig.core.neurons import Segment
from culnig.errors import NonFiniteError, PluginError
from culnig.inference.batches import Batch
from culnig.kernels import ScoreBatch, ScoreTables
from culnig.kernels.base import Backend
from culnig.kernels.choice import choose_backend
from culnig.scorers.base import Pair, Scorer, Target
from culnig.scoring.scaling import Exponents, overflowed, undone

if TYPE_CHECKING:
    import torch

ItemTables = tuple[NDArray[np.float32] | None, NDArray[np.int32] | None]
"""Tables (item, neuron) for scores before the weight P(gold), and for peak tokens."""


class ItemStore(ABC):
    """Where a segment's values of single items go, beside the sums. A batch may be half of a larger one."""

    @abstractmethod
    def tables(self, segment: Segment, batch: Batch) -> ItemTables:
        """The tables that the kernel fills."""

    def keep(  # noqa: B027 - most stores keep no tensors
        self,
        segment: Segment,
        batch: Batch,
        activation: torch.Tensor,
        gradient: torch.Tensor,
        exponents: Exponents,
    ) -> None:
        """Take the pair (item, token, neuron), before it is scored; the gradient is still scaled.

        Nothing is kept unless a store does.
        """


class Accumulator:
    """Feeds captured pairs to the kernel; the items of a batch are counted when the batch is complete."""

    def __init__(
        self,
        moments: CultureMoments,
        aggregator: str,
        *,
        clamp_at_zero: bool,
        keeper: ItemStore | None = None,
        scorers: Sequence[tuple[Scorer, CultureMoments]] = (),
    ) -> None:
        """`scorers` are those beside gradient × activation, each with its own sums."""
        self._keeper = keeper
        self._scorers = scorers
        self._moments = moments
        self._aggregator = aggregator
        self._clamp_at_zero = clamp_at_zero
        self._backends: dict[torch.device, Backend] = {}
        self._added: dict[int, set[int]] = {}
        """By item of an unfinished batch: segments, by their start, whose sums hold the item."""

    def begin(self, batch: Batch, *, may_overflow: bool = False) -> None:
        """Set the batch that the pairs of the coming backward pass belong to.

        With `may_overflow`, gradients that are not finite are no error: `overflowed` tells which items have
        them, and nothing more of the batch is added.
        """
        self._batch = batch
        self._may_overflow = may_overflow
        self._overflowed: list[torch.Tensor] = []
        added = set(self._added.get(batch.numbers[0], ()))  # one set for all items of the batch
        self._added.update((number, added) for number in batch.numbers)
        self._collecting: tuple[Target, Exponents, float] | None = None
        self._gradients: dict[Target, dict[int, torch.Tensor]] = {}

    def overflowed(self) -> NDArray[np.bool_]:
        """Which items had gradients that are not finite since `begin`, (item,)."""
        items = np.zeros(len(self._batch.items), dtype=np.bool_)
        for of_module in self._overflowed:
            items |= of_module.cpu().numpy()
        return items

    def weigh(self, p_gold: torch.Tensor, wrong: torch.Tensor | None, exponents: Exponents) -> None:
        """Set P(gold), and P of the most probable wrong label, of the batch's items, shape (item,).

        `exponents` are those by which P(gold) is scaled in the coming backward pass.
        """
        self._exponents = exponents
        self._p_gold = p_gold.double().cpu().numpy()
        self._wrong = None if wrong is None else wrong.double().cpu().numpy()
        self._culture_index = np.array(
            [self._moments.cultures.index(encoded.item.culture) for encoded in self._batch.items]
        )
        weight = np.ldexp(self._p_gold, -exponents)
        self._score_batch = ScoreBatch(
            self._batch.token_mask, weight, self._culture_index, self._clamp_at_zero
        )

    @contextlib.contextmanager
    def collecting(self, target: Target, exponents: Exponents, fraction: float = 1.0) -> Iterator[None]:
        """Collect the gradients of the backward pass, times `fraction`, as those of `target`; add nothing."""
        self._collecting = target, exponents, fraction
        try:
            yield
        finally:
            self._collecting = None

    def _collect(
        self, segment: Segment, gradient: torch.Tensor, target: Target, exponents: Exponents, fraction: float
    ) -> None:
        if self._may_overflow:
            self._overflowed.append(overflowed(gradient))
        collected = self._gradients.setdefault(target, {})
        scaled = undone(gradient.detach(), exponents).float() * fraction
        collected[segment.start] = (
            scaled if segment.start not in collected else collected[segment.start].add_(scaled)
        )

    def _backend_of(self, device: torch.device) -> Backend:
        if device not in self._backends:
            self._backends[device] = choose_backend(device)
        return self._backends[device]

    def add(self, segment: Segment, activation: torch.Tensor, gradient: torch.Tensor) -> None:
        """Reduce one module's pair and add it to the culture sums."""
        added = self._added[self._batch.numbers[0]]
        if segment.start in added:
            return
        if self._collecting is not None:
            self._collect(segment, gradient, *self._collecting)
            return
        if self._overflowed and self._overflowed[-1].any():
            self._overflowed.append(overflowed(gradient))  # the pass is repeated: only see for which items
            return
        columns = segment.columns
        kept = self._keeper.tables(segment, self._batch) if self._keeper else ()
        if self._keeper:
            # before the sums: where memory runs out in between, the second run only writes it again
            self._keeper.keep(segment, self._batch, activation, gradient, self._exponents)
        scorer_scores = self._scorer_scores(segment, activation, gradient)
        try:
            self._backend_of(activation.device).score_reduce(
                activation,
                gradient,
                self._score_batch,
                ScoreTables(*_sums(self._moments, columns), *kept),
                self._aggregator,
            )
        except NonFiniteError as error:
            if self._may_overflow and activation.isfinite().all():
                self._overflowed.append(overflowed(gradient))
                return
            item_id = self._batch.item_ids[error.item]
            where = f"{segment.module}, layer {segment.layer} (item {item_id})"
            raise NonFiniteError(error.count, error.item, error.token, error.neuron, where=where) from None
        if kept and kept[0] is not None and self._exponents.any():
            np.ldexp(kept[0], -self._exponents[:, None], out=kept[0])
        for (scorer, moments), scores in zip(self._scorers, scorer_scores, strict=True):
            self._add_scores(scorer, moments, scores, columns)
        added.add(segment.start)

    def _scorer_scores(
        self, segment: Segment, activation: torch.Tensor, gradient: torch.Tensor
    ) -> list[NDArray[np.float32]]:
        """Item scores of each scorer; all are computed before any is added, in case memory runs out."""
        if not self._scorers:
            return []
        import torch

        with torch.no_grad():
            pair = Pair(
                *self._unscaled_pair(activation.detach(), gradient.detach()),
                torch.from_numpy(self._batch.token_mask).to(activation.device),
                {target: collected.pop(segment.start) for target, collected in self._gradients.items()},
            )
            scores = [scorer.item_scores(pair).float().cpu().numpy() for scorer, _ in self._scorers]
        for (scorer, _), own in zip(self._scorers, scores, strict=True):
            if not np.isfinite(own).all():
                raise self._non_finite_scores(scorer, segment, own)
        return scores

    def _non_finite_scores(
        self, scorer: Scorer, segment: Segment, scores: NDArray[np.float32]
    ) -> NonFiniteError:
        item, neuron = (int(index) for index in np.argwhere(~np.isfinite(scores))[0])
        where = f"scorer {scorer.name}, {segment.module}, layer {segment.layer}"
        where += f" (item {self._batch.item_ids[item]})"
        token = int(self._batch.lengths[item]) - 1
        return NonFiniteError(
            int((~np.isfinite(scores)).sum()), item, token, neuron, values="scores", where=where
        )

    def _unscaled_pair(
        self, activation: torch.Tensor, gradient: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The pair with the gradient of P(gold) itself, in one number format."""
        unscaled = undone(gradient, self._exponents)
        return activation.to(unscaled.dtype), unscaled

    def _add_scores(
        self, scorer: Scorer, moments: CultureMoments, scores: NDArray[np.float32], columns: slice
    ) -> None:
        expected = (len(self._batch.items), columns.stop - columns.start)
        if scores.shape != expected:
            raise PluginError(
                f"scorer {scorer.name!r} returned scores of shape {scores.shape}, expected (item, neuron) = "
                f"{expected}"
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
        for moments in (self._moments, *(moments for _, moments in self._scorers)):
            np.add.at(moments.n_items, self._culture_index, 1)
            np.add.at(moments.p_gold_sum, self._culture_index, self._p_gold)
        for number in self._batch.numbers:
            del self._added[number]


def _sums(moments: CultureMoments, columns: slice) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """The tables that a kernel adds to, for some neurons."""
    return (
        moments.sum[:, columns],
        moments.sum_of_squares[:, columns],
        moments.positive_count[:, columns],
    )
