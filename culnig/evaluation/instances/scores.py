"""Scores of chosen neurons on every single item (the paper's instance level).

A run keeps sums over the items of a culture. Here a few chosen neurons are scored again, item by item: the
same weighted instance score w(n) = P(gold) · max over tokens of gradient × activation (docs/method.md), for
their columns alone. With a control, the score of the same item without its question is subtracted, clamped
at zero as in a run. Raw maxima over many tokens are nearly always positive, so only the difference says
whether a neuron serves the question or its format.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from culnig.core.items import Item
from culnig.core.moments import CultureMoments
from culnig.core.neurons import Segment
from culnig.core.outcomes import Outcomes
from culnig.errors import InputError
from culnig.inference.answers import AnswerReader
from culnig.inference.batches import DEFAULT_TOKEN_BUDGET, Batch
from culnig.inference.encoding import Encoder
from culnig.inference.fitting import Answering
from culnig.kernels.transfers import to_device
from culnig.models.base import BoundModel
from culnig.models.sharding import check_items
from culnig.scoring.accumulator import Accumulator, ItemStore, ItemValues
from culnig.scoring.capture import Capture
from culnig.scoring.targets import BatchPasses
from culnig.scoring.texts import check_texts, score_batches

if TYPE_CHECKING:
    import torch

AfterBatch = Callable[[int], None]
"""Called after each batch with its number of items."""


@dataclass(frozen=True)
class InstanceScores:
    """Scores of some neurons on every item."""

    items: tuple[Item, ...]
    flat: NDArray[np.int64]
    """Flat indices of the neurons."""
    raw: NDArray[np.float64]
    """w(n) on the item itself, shape (item, neuron)."""
    control: NDArray[np.float64] | None
    """w(n), clamped at zero, on the same item without its question; None without a control."""

    @property
    def difference(self) -> NDArray[np.float64]:
        """Target − control, shape (item, neuron); raw scores where there is no control."""
        return self.raw if self.control is None else self.raw - self.control


def instance_scores(
    bound: BoundModel,
    items: Sequence[Item],
    flat: NDArray[np.int64],
    control: Sequence[Item] | None = None,
    *,
    encoder: Encoder | None = None,
    token_budget: int = DEFAULT_TOKEN_BUDGET,
    after_batch: AfterBatch = lambda n_items: None,
) -> InstanceScores:
    """Score the neurons at the flat indices `flat` on `items`, and on the same items of a control.

    Items of the control are matched by id. `encoder` encodes the items, by default with today's date where
    prompts show one. InputError if an item has no match, or an index is outside the
    layout or listed twice; NonFiniteError if a score is not finite; EnvironmentProblem if an item alone
    does not fit into memory.
    """
    matched = None if control is None else _matched(items, control)
    raw = score_items(bound, items, flat, encoder=encoder, token_budget=token_budget, after_batch=after_batch)
    if matched is None:
        return InstanceScores(tuple(items), flat, raw, None)
    without = score_items(
        bound, matched, flat, encoder=encoder, token_budget=token_budget, after_batch=after_batch
    )
    return InstanceScores(tuple(items), flat, raw, np.maximum(without, 0.0))


def score_items(
    bound: BoundModel,
    items: Sequence[Item],
    flat: NDArray[np.int64],
    *,
    encoder: Encoder | None = None,
    token_budget: int = DEFAULT_TOKEN_BUDGET,
    after_batch: AfterBatch = lambda n_items: None,
) -> NDArray[np.float64]:
    """w(n) of the neurons at `flat`, unclamped, shape (item, neuron)."""
    bound.check_neurons(flat)
    check_items(bound.sharding, len(items))
    outcomes = Outcomes.empty(items)
    check_texts(items, is_spread=bound.sharding is not None)
    batches = score_batches(bound, (encoder or Encoder(bound)).encode_all(items), token_budget)
    kept = _ItemScores(batches, len(flat))
    moments = CultureMoments.zeros(list(dict.fromkeys(item.culture for item in items)), len(flat))
    accumulator = Accumulator(moments, "max", clamp_at_zero=False, keeper=kept)
    consume = _ChosenColumns(bound, flat, accumulator)
    with AnswerReader(bound) as reader, Capture(bound, consume) as capture:
        consume.place(capture.devices)
        passes = BatchPasses(bound, reader, capture, accumulator)
        Answering(bound, passes.run, kind="score", rehearse=passes.rehearse).run(
            batches, outcomes, after_batch
        )
    if bound.sharding is not None:  # each process holds the rows of its own items, and zeros
        kept.scores = np.sum(bound.sharding.processes.gathered(kept.scores), axis=0)
    scores = np.empty((len(items), len(flat)))
    weighted = kept.scores * outcomes.p_gold[kept.numbers][:, np.newaxis]
    scores[np.ix_(kept.numbers, consume.order)] = weighted
    return scores


def _matched(items: Sequence[Item], control: Sequence[Item]) -> list[Item]:
    by_id: Mapping[str, Item] = {item.id: item for item in control}
    missing = [item.id for item in items if item.id not in by_id]
    if missing:
        raise InputError(
            f"{len(missing)} of {len(items)} items have no control, the first is {missing[0]!r}; give the "
            "control of the same benchmark and data, or score without a control"
        )
    return [by_id[item.id] for item in items]


class _ItemScores(ItemStore):
    """Keeps the unweighted score of every item and chosen neuron, in the order of the batches."""

    keeps_scores = True

    def __init__(self, batches: Sequence[Batch], n_neurons: int) -> None:
        self.numbers = np.array([n for batch in batches for n in batch.numbers], dtype=np.int64)
        """Indices of the items, row by row."""
        self.scores = np.zeros((len(self.numbers), n_neurons), dtype=np.float32)
        self._rows = {number: row for row, number in enumerate(self.numbers.tolist())}

    def keep_scores(self, batch: Batch, values: ItemValues) -> None:
        """See `ItemStore`."""
        first = self._rows[batch.numbers[0]]
        self.scores[first : first + len(batch.numbers)] = values.scores()


class _ChosenColumns:
    """Consumes captured pairs: passes the columns of the chosen neurons on, as segments of their own."""

    def __init__(self, bound: BoundModel, flat: NDArray[np.int64], accumulator: Accumulator) -> None:
        self._accumulator = accumulator
        self._chosen: dict[Segment, tuple[Segment, NDArray[np.int64]]] = {}
        """By segment of the model: the segment of its chosen neurons, and their indices."""
        self._columns: dict[Segment, torch.Tensor] = {}
        """The indices on the segment's device."""
        self.order = np.argsort(bound.layout.segment_of(flat), kind="stable")
        """Indices into `flat`, in the order of the columns that are passed on."""
        start = 0
        for segment, _, index in bound.layout.by_segment(flat):
            self._chosen[segment] = Segment(segment.module, segment.layer, start, len(index)), index
            start += len(index)

    def place(self, devices: Mapping[Segment, torch.device]) -> None:
        """Set the device of each segment's activations."""
        self._columns = {
            segment: to_device(index, devices[segment]) for segment, (_, index) in self._chosen.items()
        }
        self._accumulator.place(
            {chosen: devices[segment] for segment, (chosen, _) in self._chosen.items()},
            indices=dict(self._chosen.values()),
        )

    def __call__(self, segment: Segment, activation: torch.Tensor, gradient: torch.Tensor) -> None:
        if segment in self._chosen:
            chosen, columns = self._chosen[segment][0], self._columns[segment]
            self._accumulator.add(chosen, activation[..., columns], gradient[..., columns])
