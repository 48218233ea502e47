"""From captured pairs to culture sums.

The pairs of a backward pass arrive module by module, and each only enqueues work on its device
(`culnig.scoring.device_scores`). Nothing is added before the batch is complete, so a batch that is run again
leaves nothing behind: in halves, where memory ran out, or with a smaller target, where gradients overflowed.

Targets are multiplied by powers of two (`culnig.scoring.scaling`). They are taken out again here: of the sums
through the weight, of everything else in float32.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from culnig.core.moments import CultureMoments
from culnig.core.neurons import Segment
from culnig.core.outcomes import Outcomes
from culnig.errors import NonFiniteError, PluginError
from culnig.inference.batches import Batch
from culnig.kernels import ScoreBatch
from culnig.scorers.base import Pair, Scorer, Target
from culnig.scoring.culture_swap import from_baseline
from culnig.scoring.device_scores import MOMENTS, CapturedPair, DeviceScores, joined
from culnig.scoring.scaling import Scale
from culnig.scoring.target_scores import TargetScores

if TYPE_CHECKING:
    import torch

    from culnig.models.experts import Routed


class ItemValues(NamedTuple):
    """Values (item, neuron) of a batch. A call waits for the device, in any thread, and is made once."""

    scores: Callable[[], NDArray[np.float32]]
    """Scores before the weight P(gold)."""
    peaks: Callable[[], NDArray[np.int32]]
    """Peak tokens; only for stores that keep them."""


class ItemStore:
    """Where values of single items go, beside the sums. A batch may be half of a larger one.

    A store keeps nothing that it does not ask for.
    """

    keeps_scores = False
    keeps_peaks = False

    def keeps_pairs(self, segment: Segment) -> bool:
        """Whether `keep` takes the pairs of this segment."""
        return False

    def keep_scores(self, batch: Batch, values: ItemValues) -> None:
        """Take the scores of a batch that is complete; called where `keeps_scores`."""

    def keep(
        self,
        segment: Segment,
        batch: Batch,
        activation: torch.Tensor,
        gradient: torch.Tensor,
        scale: Scale,
    ) -> None:
        """Take the pair (item, token, neuron), before it is scored; the gradient is still scaled.

        Called where `keeps_pairs`. A batch that is repeated is kept again.
        """


class Accumulator:
    """Scores captured pairs, and adds the scores of each complete batch to the sums."""

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
        self._scorers = [scorer for scorer, _ in scorers]
        self._moments = [moments, *(own for _, own in scorers)]
        self._aggregator = aggregator
        self._clamp_at_zero = clamp_at_zero
        self._of_targets = TargetScores(self._scorers)

    def place(
        self,
        devices: Mapping[Segment, torch.device],
        indices: Mapping[Segment, NDArray[np.int64]] | None = None,
    ) -> None:
        """Set the device of each segment's activations, before the first batch.

        `indices` are those of the neurons in their module, for segments that hold only some of a module.
        """
        self._indices = indices or {}
        by_device: dict[torch.device, list[Segment]] = {}
        for segment, device in devices.items():
            by_device.setdefault(device, []).append(segment)
        keeps_peaks = self._keeper is not None and self._keeper.keeps_peaks
        self._devices = [
            DeviceScores(device, segments, self._moments, keeps_peaks=keeps_peaks)
            for device, segments in by_device.items()
        ]
        self._home = {
            segment: own
            for own, segments in zip(self._devices, by_device.values(), strict=True)
            for segment in segments
        }

    def begin(self, batch: Batch, *, may_overflow: bool = False) -> None:
        """Set the batch that the pairs of the coming backward passes belong to.

        With `may_overflow`, gradients that are not finite are no error: `overflowed` tells which items have
        them.
        """
        self._batch = batch
        self._may_overflow = may_overflow
        self._arrived: dict[Segment, None] = {}
        self._collecting: tuple[Target, Scale, float] | None = None
        self._gradients: dict[Target, dict[int, torch.Tensor]] = {}
        self._of_targets.begin()
        for own in self._devices:
            own.begin(batch.token_mask)

    def weigh(self, p_gold: NDArray[np.float64], wrong: NDArray[np.float64] | None, scale: Scale) -> None:
        """Set P(gold), and P of the most probable wrong label, of the batch's items, shape (item,).

        `scale` is that of P(gold) in the coming backward pass.
        """
        self._scale = scale
        self._p_gold = p_gold
        self._wrong = wrong

    @contextlib.contextmanager
    def collecting(self, target: Target, scale: Scale, fraction: float = 1.0) -> Iterator[None]:
        """Collect the gradients of the backward pass, times `fraction`, as those of `target`."""
        self._collecting = target, scale, fraction
        try:
            yield
        finally:
            self._collecting = None

    def _collect(
        self, segment: Segment, gradient: torch.Tensor, target: Target, scale: Scale, fraction: float
    ) -> None:
        collected = self._gradients.setdefault(target, {})
        scaled = scale.undone(gradient.detach()).float() * fraction
        collected[segment.start] = (
            scaled if segment.start not in collected else collected[segment.start].add_(scaled)
        )

    def add(
        self, segment: Segment, activation: torch.Tensor, gradient: torch.Tensor, routed: Routed | None = None
    ) -> None:
        """Score one module's pair; of a module that is called more than once, the last call.

        With `routed` the tensors are rows of an expert layer.
        """
        pair, shape = CapturedPair(activation, gradient, routed), self._batch.token_mask.shape
        counted = pair._replace(activation=from_baseline(activation, self._batch))
        if self._collecting is not None:
            target, scale, fraction = self._collecting
            self._of_targets.write(self._home[segment], segment, counted, target, scale)
            is_kept = self._of_targets.is_kept(target)
            if self._may_overflow or is_kept:
                whole = pair.filled(segment, shape).gradient
                self._of_targets.note_overflow(whole)
                if is_kept:
                    self._collect(segment, whole, target, scale, fraction)
            return
        if segment in self._arrived:
            return
        if self._keeper and self._keeper.keeps_pairs(segment):
            filled = pair.filled(segment, shape)
            self._keeper.keep(segment, self._batch, filled.activation, filled.gradient, self._scale)
        own = self._home[segment]
        own.write(segment, counted, self._aggregator)
        if self._of_targets.remaining:
            self._score_by_others(own, segment, pair.filled(segment, shape))
        self._arrived[segment] = None

    def _score_by_others(self, own: DeviceScores, segment: Segment, captured: CapturedPair) -> None:
        import torch

        with torch.no_grad():
            unscaled = self._scale.undone(captured.gradient.detach())
            pair = Pair(
                captured.activation.detach().to(unscaled.dtype),
                unscaled,
                own.token_mask,
                {target: collected.pop(segment.start) for target, collected in self._gradients.items()},
            )
            for number, scorer in self._of_targets.remaining:
                scores, columns = scorer.item_scores(pair), own.columns_of(segment, number)
                if scores.shape != columns.shape:
                    raise PluginError(
                        f"scorer {scorer.name!r} returned scores of shape {tuple(scores.shape)}, expected "
                        f"(item, neuron) = {tuple(columns.shape)}"
                    )
                columns.copy_(scores)

    def collected_overflow(self) -> NDArray[np.bool_]:
        """Which items had collected gradients that are not finite since `begin`, (item,).

        Waits for the device, unless `begin` said that none may overflow.
        """
        if not self._may_overflow:
            return np.zeros(len(self._batch.items), dtype=np.bool_)
        return self._of_targets.overflow(len(self._batch.items))

    def overflowed(self) -> NDArray[np.bool_]:
        """Which items of the scored batch overflow, (item,); waits for the device, once.

        NonFiniteError for anything else that is not finite: it names module, layer and item.
        """
        n_items = len(self._batch.items)
        of_devices = [own.read_status() for own in self._devices]
        wrong = {segment: words for own, _ in of_devices for segment, words in own.items()}
        if wrong:
            words = np.stack(list(wrong.values()))
            if self._may_overflow and not words[..., 2].any():
                return np.asarray(words[..., 0].any(axis=0))
            segment = next(segment for segment in self._arrived if segment in wrong)
            raise self._non_finite(segment, wrong[segment])
        for number, scorer in enumerate(self._scorers, 1):
            if any(own[number - 1] for _, own in of_devices):
                raise self._non_finite_scores(number, scorer)
        return np.zeros(n_items, dtype=np.bool_)

    def _non_finite(self, segment: Segment, words: NDArray[np.int64]) -> NonFiniteError:
        from culnig.kernels.status import first_non_finite

        first = first_non_finite(words, segment.width)
        assert first is not None
        count, item, token, neuron = first
        if segment in self._indices:
            neuron = int(self._indices[segment][neuron])
        where = f"{segment.module}, layer {segment.layer} (item {self._batch.item_ids[item]})"
        return NonFiniteError(count, item, token, neuron, where=where)

    def _non_finite_scores(self, number: int, scorer: Scorer) -> NonFiniteError:
        for segment in self._arrived:
            finite = self._home[segment].columns_of(segment, number).isfinite().cpu().numpy()
            if not finite.all():
                break
        item, neuron = (int(index) for index in np.argwhere(~finite)[0])
        where = f"scorer {scorer.name}, {segment.module}, layer {segment.layer}"
        where += f" (item {self._batch.item_ids[item]})"
        token = int(self._batch.lengths[item]) - 1
        return NonFiniteError(int((~finite).sum()), item, token, neuron, values="scores", where=where)

    def finish(self) -> None:
        """Add the batch, in which nothing overflowed, to the sums, and count its items."""
        cultures = self._moments[0].cultures
        culture_index = np.array([cultures.index(encoded.item.culture) for encoded in self._batch.items])
        missing = [segment for segment in self._home if segment not in self._arrived]
        for own in self._devices:
            own.clear(missing)
            for number, unseen in self._of_targets.missing(self._home):
                own.clear(unseen, number)
        # all memory is taken before anything is added, in case it runs out
        weighted = [self._weighted(number, culture_index) for number in range(len(self._moments))]
        additions = [
            own.addition(number, batch) for own in self._devices for number, batch in enumerate(weighted)
        ]
        values = self._item_values() if self._keeper and self._keeper.keeps_scores else None
        for add in additions:
            add()
        for moments in self._moments:
            np.add.at(moments.n_items, culture_index, 1)
            np.add.at(moments.p_gold_sum, culture_index, self._p_gold)
        if self._keeper and values is not None:
            self._keeper.keep_scores(self._batch, values)

    def count_routed(self, outcomes: Outcomes, columns: Mapping[int, slice]) -> None:
        """Write the tokens of the batch's items that each expert saw; `columns` are those of each layer.

        Waits for each device with experts once.
        """
        import torch

        for own in self._devices:
            if own.routed_tokens:
                counts = torch.cat(list(own.routed_tokens.values())).T.cpu().numpy()
                at = np.concatenate([np.r_[columns[layer]] for layer in own.routed_tokens])
                outcomes.routed_tokens[np.ix_(np.array(self._batch.numbers), at)] = counts

    def _weighted(self, number: int, culture_index: NDArray[np.int64]) -> ScoreBatch:
        """How the scores of this number are added: the first are those of gradient × activation."""
        if number == 0:
            weight = np.ldexp(self._p_gold, -self._scale.exponents)
            return ScoreBatch(None, weight, culture_index, self._clamp_at_zero)
        kind = self._scorers[number - 1].weight
        given = {"gold": self._p_gold, "wrong": self._wrong, None: np.ones(len(culture_index))}[kind]
        given = self._of_targets.unscaled(number, given)
        return ScoreBatch(None, given, culture_index, self._clamp_at_zero and kind is not None)

    def _item_values(self) -> ItemValues:
        assert self._keeper is not None
        exponents, shape = self._scale.exponents, (len(self._batch.items), self._moments[0].sum.shape[1])
        scores = [(own.runs, own.take(0)) for own in self._devices]
        peaks = [(own.runs, own.take(-1)) for own in self._devices if self._keeper.keeps_peaks]

        def unscaled() -> NDArray[np.float32]:
            own: NDArray[np.float32] = joined(scores, lambda: np.empty(shape, np.float32))
            return np.ldexp(own, -exponents[:, None], out=own) if exponents.any() else own

        return ItemValues(unscaled, lambda: joined(peaks, lambda: np.empty(shape, np.int32)))

    def sums(self) -> list[CultureMoments]:
        """Copies of the sums so far: those of gradient × activation, then each scorer's."""
        copies = []
        for number, moments in enumerate(self._moments):
            n_items, p_gold_sum = moments.n_items.copy(), moments.p_gold_sum.copy()
            tables = (
                self._on_host(number, field, getattr(moments, field).copy) for field in MOMENTS.values()
            )
            copies.append(CultureMoments(moments.cultures, n_items, p_gold_sum, *tables))
        return copies

    def settle(self) -> None:
        """Bring the sums to the moments, where devices hold them."""
        for number, moments in enumerate(self._moments):
            for field in MOMENTS.values():
                own = functools.partial(getattr, moments, field)
                setattr(moments, field, self._on_host(number, field, own))

    def _on_host(self, number: int, field: str, table: Callable[[], NDArray[Any]]) -> NDArray[Any]:
        """A table of sums: `table`, with the neurons of devices written into it."""
        copies = [(own.runs, own.sums(number, field)) for own in self._devices]
        parts = [(runs, copy) for runs, copy in copies if copy is not None]
        return joined(parts, table) if parts else table()
