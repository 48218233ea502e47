"""The scoring loop: items of one benchmark through the model, into one table of culture moments.

Per batch: forward, P(gold) at the last position, one backward pass from ΣP. Items do not mix, so the
gradient of the sum holds every item's own gradient; `Capture` hands each module's pair to the kernel,
which adds to the table while autograd goes on.

The order of batches is fixed by the items and the token budget, so a table after k batches is the same
whether or not the process was interrupted in between. A batch that runs out of memory goes on as two halves,
which add what it has not added yet: every item is in every neuron's sum once, and in the same order.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from culnig.bound import BoundModel
from culnig.errors import EnvironmentProblem
from culnig.extraction.accumulator import Accumulator, Added
from culnig.extraction.capture import Capture
from culnig.extraction.checkpointing import checkpointed
from culnig.extraction.diagnosis import non_finite_activation
from culnig.extraction.memory import is_out_of_memory, release_memory
from culnig.inference.answers import AnswerReader, gold_confidence
from culnig.inference.batches import DEFAULT_TOKEN_BUDGET, Batch, make_batches
from culnig.inference.encoding import Encoder
from culnig.items import Item, Role
from culnig.outcomes import Outcomes
from culnig.scores import CultureMoments


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
    gradient_checkpointing: bool = False,
) -> BenchmarkScores:
    """Score `items`; goes on from `so_far` where given (same items and settings).

    A batch that does not fit into memory is halved until it does. `gradient_checkpointing` takes less memory
    and more time, and gives the same scores.

    Items of a control benchmark have their weighted scores clamped at zero (METHOD §1). Raises
    NonFiniteError, naming module, layer and item, where an activation or gradient is not finite, and
    EnvironmentProblem where a single item does not fit into memory.
    """
    scores = so_far or BenchmarkScores.empty(items, bound.layout.n_neurons)
    batches = make_batches(Encoder(bound).encode_all(items), settings.token_budget)
    scores.n_batches = len(batches)
    accumulator = Accumulator(scores.moments, settings.aggregator, clamp_at_zero=role == "control")
    with (
        checkpointed(bound) if gradient_checkpointing else contextlib.nullcontext(),
        AnswerReader(bound) as reader,
        Capture(bound, accumulator.add),
    ):
        pieces = _Pieces(bound, reader, accumulator, scores.outcomes)
        for batch in batches[scores.batches_done :]:
            pieces.score(batch)
            scores.batches_done += 1
            after_batch(scores, len(batch.items))
    return scores


class _Pieces:
    """Scores batches, in halves where memory runs out."""

    def __init__(
        self, bound: BoundModel, reader: AnswerReader, accumulator: Accumulator, outcomes: Outcomes
    ) -> None:
        self._bound = bound
        self._reader = reader
        self._accumulator = accumulator
        self._outcomes = outcomes
        self._too_large: float = math.inf
        """Tokens of the smallest batch that did not fit: later ones of that size are halved at once."""

    def score(self, batch: Batch, added: Added = frozenset()) -> None:
        """Score a batch; `added` are the segments that have its scores already."""
        alone = len(batch.items) == 1
        if alone or batch.n_tokens < self._too_large:
            before = self._attempt(batch, added)
            if before is None:
                return
            added = before
            release_memory()
            if alone:
                raise _does_not_fit(batch)
            self._too_large = min(self._too_large, batch.n_tokens)
        for half in batch.halves():
            self.score(half, added)

    def _attempt(self, batch: Batch, added: Added) -> Added | None:
        """Score a batch in one go; where memory runs out, return the segments that are through by then."""
        self._accumulator.begin(batch, added)
        try:
            probabilities = self._reader.logits(batch).softmax(-1)
            confidence = gold_confidence(batch, probabilities)
            if not confidence.isfinite().all():
                raise non_finite_activation(self._bound, self._reader, batch)
            self._accumulator.weigh(confidence.detach())
            confidence.sum().backward()  # type: ignore[no-untyped-call]
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            return self._accumulator.added
        self._accumulator.finish()
        self._reader.record(batch, probabilities, self._outcomes)
        return None


def _does_not_fit(batch: Batch) -> EnvironmentProblem:
    return EnvironmentProblem(
        f"out of memory with the single item {batch.items[0].item.id} of {batch.n_tokens} tokens; add "
        "--gradient-checkpointing, load with --dtype bfloat16 or --quantize 4bit, or spread the model over "
        "several devices with --device-map auto. `culnig-engine plan` says what fits"
    )
