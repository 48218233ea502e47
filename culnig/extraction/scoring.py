"""The scoring loop: items of one benchmark through the model, into one table of culture moments.

Per batch: forward, P(gold) at the last position, one backward pass from ΣP. Items do not mix, so the
gradient of the sum holds every item's own gradient; `Capture` hands each module's pair to the kernel,
which adds to the table while autograd goes on.

The order of batches is fixed by the items and the token budget, so a table after k batches is the same
whether or not the process was interrupted in between.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from culnig.backends import Backend, choose_backend
from culnig.bound import BoundModel
from culnig.errors import NonFiniteError
from culnig.extraction.capture import Capture
from culnig.extraction.diagnosis import non_finite_activation
from culnig.inference.answers import AnswerReader, gold_confidence
from culnig.inference.batches import DEFAULT_TOKEN_BUDGET, Batch, make_batches
from culnig.inference.encoding import Encoder
from culnig.items import Item, Role
from culnig.neurons import Segment
from culnig.outcomes import Outcomes
from culnig.scores import CultureMoments

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class ScoreSettings:
    """What decides the numbers of a run, beside model and items."""

    aggregator: str = "max"
    """How contributions at the tokens become one instance score: max, absmax, sum, mean or last."""
    token_budget: int = DEFAULT_TOKEN_BUDGET
    """Most tokens of one batch, padding included. Changes scores only by the model's float noise."""


@dataclass
class BenchmarkScores:
    """What scoring one benchmark gives; grows batch by batch."""

    moments: CultureMoments
    outcomes: Outcomes
    batches_done: int = 0
    n_batches: int = 0

    @classmethod
    def empty(cls, items: Sequence[Item], n_neurons: int) -> BenchmarkScores:
        """A table for the cultures of `items`, in order of first appearance."""
        cultures = list(dict.fromkeys(item.culture for item in items))
        return cls(CultureMoments.zeros(cultures, n_neurons), Outcomes.empty(items))

    @property
    def complete(self) -> bool:
        """Whether every batch is in."""
        return self.n_batches > 0 and self.batches_done == self.n_batches


AfterBatch = Callable[[BenchmarkScores, int], None]
"""Called after each batch with the scores so far and the number of items in the batch."""


def score_benchmark(
    bound: BoundModel,
    items: Sequence[Item],
    role: Role,
    settings: ScoreSettings,
    *,
    so_far: BenchmarkScores | None = None,
    after_batch: AfterBatch = lambda scores, n_items: None,
) -> BenchmarkScores:
    """Score `items`; goes on from `so_far` where given (same items and settings).

    Items of a control benchmark have their weighted scores clamped at zero (METHOD §1). Raises
    NonFiniteError, naming module, layer and item, where an activation or gradient is not finite.
    """
    scores = so_far or BenchmarkScores.empty(items, bound.layout.n_neurons)
    batches = make_batches(Encoder(bound).encode_all(items), settings.token_budget)
    scores.n_batches = len(batches)
    accumulate = _Accumulator(scores.moments, settings.aggregator, clamp_at_zero=role == "control")
    with AnswerReader(bound) as reader, Capture(bound, accumulate.add):
        for batch in batches[scores.batches_done :]:
            probabilities = reader.logits(batch).softmax(-1)
            confidence = gold_confidence(batch, probabilities)
            if not confidence.isfinite().all():
                raise non_finite_activation(bound, reader, batch)
            accumulate.start(batch, confidence.detach())
            confidence.sum().backward()  # type: ignore[no-untyped-call]
            accumulate.finish()
            reader.record(batch, probabilities, scores.outcomes)
            scores.batches_done += 1
            after_batch(scores, len(batch.items))
    return scores


class _Accumulator:
    """Feeds captured pairs to the kernel; counts of a batch are added once, when it is through."""

    def __init__(self, moments: CultureMoments, aggregator: str, *, clamp_at_zero: bool) -> None:
        self._moments = moments
        self._aggregator = aggregator
        self._clamp_at_zero = clamp_at_zero
        self._backends: dict[torch.device, Backend] = {}

    def start(self, batch: Batch, confidence: torch.Tensor) -> None:
        """Set what the pairs of the coming backward pass belong to."""
        self._batch = batch
        self._confidence = confidence.double().cpu().numpy()
        self._culture_index = np.array(
            [self._moments.cultures.index(encoded.item.culture) for encoded in batch.items]
        )

    def add(self, segment: Segment, activation: torch.Tensor, gradient: torch.Tensor) -> None:
        """Reduce one module's pair and add it to the culture sums."""
        device = activation.device
        if device not in self._backends:
            self._backends[device] = choose_backend(device)
        backend = self._backends[device]
        columns = segment.columns
        try:
            backend.score_reduce(
                activation,
                gradient,
                self._batch.token_mask,
                self._confidence,
                self._culture_index,
                sums=self._moments.sum[:, columns],
                sums_of_squares=self._moments.sum_of_squares[:, columns],
                positive_counts=self._moments.positive_count[:, columns],
                aggregator=self._aggregator,
                clamp_at_zero=self._clamp_at_zero,
            )
        except NonFiniteError as error:
            item = self._batch.items[error.item].item.id
            raise NonFiniteError(
                error.count,
                error.item,
                error.token,
                error.neuron,
                where=f"{segment.module}, layer {segment.layer} (item {item})",
            ) from None

    def finish(self) -> None:
        """Count the batch's items."""
        np.add.at(self._moments.n_items, self._culture_index, 1)
        np.add.at(self._moments.confidence_sum, self._culture_index, self._confidence)
