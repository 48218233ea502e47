"""Scores of chosen neurons on every single problem (the paper's instance level).

A run keeps sums over the items of a culture. Here a few chosen neurons are scored again, item by item: the
same weighted instance score w(n) = P(gold) · max over tokens of gradient × activation (METHOD §1), for their
columns alone. With a control, the score of the same problem without its question is subtracted, clamped at
zero as in a run; raw maxima over many tokens are nearly always positive, so only the difference says whether
a neuron serves the problem rather than its format.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from culnig.core.items import Item
from culnig.core.neurons import Segment
from culnig.errors import InputError, NonFiniteError
from culnig.inference.answers import AnswerReader, gold_probabilities
from culnig.inference.batches import DEFAULT_TOKEN_BUDGET, Batch, make_batches
from culnig.inference.encoding import Encoder
from culnig.models.base import BoundModel
from culnig.scoring.capture import Capture

if TYPE_CHECKING:
    import torch

AfterBatch = Callable[[int], None]
"""Called after each batch with its number of items."""


@dataclass(frozen=True)
class InstanceScores:
    """Scores of some neurons on every item."""

    items: tuple[Item, ...]
    flat: NDArray[np.int64]
    """Flat positions of the neurons."""
    raw: NDArray[np.float64]
    """w(n) on the item as it is, shape (item, neuron)."""
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
    token_budget: int = DEFAULT_TOKEN_BUDGET,
    after_batch: AfterBatch = lambda n_items: None,
) -> InstanceScores:
    """Score the neurons at `flat` on `items`, and on the same items of a control.

    Items of the control are matched by id. InputError where one has no match, a position is outside the
    layout or listed twice; NonFiniteError where a score is not finite.
    """
    matched = None if control is None else _matched(items, control)
    raw = score_items(bound, items, flat, token_budget=token_budget, after_batch=after_batch)
    without = (
        None
        if matched is None
        else np.maximum(
            score_items(bound, matched, flat, token_budget=token_budget, after_batch=after_batch), 0.0
        )
    )
    return InstanceScores(tuple(items), flat, raw, without)


def score_items(
    bound: BoundModel,
    items: Sequence[Item],
    flat: NDArray[np.int64],
    *,
    token_budget: int = DEFAULT_TOKEN_BUDGET,
    after_batch: AfterBatch = lambda n_items: None,
) -> NDArray[np.float64]:
    """w(n) of the neurons at `flat`, unclamped, shape (item, neuron)."""
    if flat.size and not (flat.min() >= 0 and flat.max() < bound.layout.n_neurons):
        raise InputError(f"a neuron lies outside the layout of {bound.layout.n_neurons:,} neurons")
    if len(np.unique(flat)) != len(flat):
        raise InputError("a neuron is listed twice; name each once")
    scores = np.zeros((len(items), len(flat)))
    columns = _columns(bound, flat)
    with AnswerReader(bound) as reader:
        gathered = _Gathered(columns, scores)
        with Capture(bound, gathered.take):
            for batch in make_batches(Encoder(bound).encode_all(items), token_budget):
                p_gold = gold_probabilities(batch, reader.logits(batch).softmax(-1))
                gathered.begin(batch, p_gold.detach())
                p_gold.sum().backward()  # type: ignore[no-untyped-call]
                after_batch(len(batch.items))
    return scores


def _matched(items: Sequence[Item], control: Sequence[Item]) -> list[Item]:
    by_id: Mapping[str, Item] = {item.id: item for item in control}
    missing = [item.id for item in items if item.id not in by_id]
    if missing:
        raise InputError(
            f"{len(missing)} of {len(items)} items have no control, the first is {missing[0]!r}; give the "
            "control of the same benchmark and data, or go without"
        )
    return [by_id[item.id] for item in items]


@dataclass(frozen=True)
class _Columns:
    """Neurons of one segment: their indices in it, and their places among those asked for."""

    index: NDArray[np.int64]
    places: NDArray[np.int64]


def _columns(bound: BoundModel, flat: NDArray[np.int64]) -> dict[Segment, _Columns]:
    numbers = bound.layout.segment_of(flat)
    found = {}
    for number in np.unique(numbers):
        segment = bound.layout.segments[number]
        (places,) = np.nonzero(numbers == number)
        found[segment] = _Columns(flat[places] - segment.start, places)
    return found


class _Gathered:
    """Takes what a capture hands over and keeps the scores of the chosen columns."""

    def __init__(self, columns: Mapping[Segment, _Columns], scores: NDArray[np.float64]) -> None:
        self._columns = columns
        self._scores = scores

    def begin(self, batch: Batch, p_gold: torch.Tensor) -> None:
        """Note the items that the next backward pass is of."""
        import torch

        self._batch = batch
        self._p_gold = p_gold.double().cpu().numpy()
        self._padding = torch.from_numpy(~batch.token_mask)

    def take(self, segment: Segment, activation: torch.Tensor, gradient: torch.Tensor) -> None:
        """Products in float32, the largest over real tokens, times P(gold)."""
        import torch

        chosen = self._columns.get(segment)
        if chosen is None:
            return
        index = torch.from_numpy(chosen.index).to(activation.device)
        products = activation[..., index].float() * gradient[..., index].float()
        products = products.masked_fill(self._padding.to(products.device)[..., None], -torch.inf)
        largest = products.amax(dim=1).double().cpu().numpy()
        if not np.isfinite(largest).all():
            item, neuron = np.argwhere(~np.isfinite(largest))[0]
            raise NonFiniteError(
                int(np.sum(~np.isfinite(largest))),
                self._batch.numbers[item],
                0,
                int(chosen.index[neuron]),
                what="scores",
                where=f"{segment.module} of layer {segment.layer}",
            )
        weighted = largest * self._p_gold[:, np.newaxis]
        self._scores[np.ix_(np.array(self._batch.numbers), chosen.places)] = weighted
