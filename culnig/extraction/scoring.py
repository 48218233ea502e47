"""The scoring loop: items of one benchmark through the model, into one table of culture moments.

Per batch: forward, P(gold) at the last position, one backward pass from ΣP. Items do not mix, so the
gradient of the sum holds every item's own gradient; `Capture` hands each module's pair to the kernel,
which adds to the table while autograd goes on.

The order of batches is fixed by the items and the token budget, and so are the portions they are cut into.
Each portion has a table of its own, which after k batches is the same whether or not the process was
interrupted in between, and whichever process it was; the tables are added in the order of portions.

A batch that runs out of memory goes on as two halves, which add what it has not added yet: every item is in
every neuron's sum once, and in the same order.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from culnig.bound import BoundModel
from culnig.errors import EnvironmentProblem
from culnig.extraction.accumulator import Accumulator, Added
from culnig.extraction.capture import Capture
from culnig.extraction.checkpointing import checkpointed
from culnig.extraction.diagnosis import non_finite_activation
from culnig.extraction.halving import half_of_items
from culnig.extraction.keeping import Keeper
from culnig.extraction.portions import MOST_PORTIONS, split_batches
from culnig.extraction.targets import log_odds, wrong_confidence
from culnig.inference.answers import AnswerReader, gold_confidence
from culnig.inference.batches import DEFAULT_TOKEN_BUDGET, Batch, make_batches
from culnig.inference.encoding import Encoder
from culnig.inference.memory import is_out_of_memory, release_memory
from culnig.items import Item, Role
from culnig.outcomes import Outcomes
from culnig.scorer import PATH_STEPS, Scorer, Target
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
    scorers: dict[str, CultureMoments] = field(default_factory=dict)
    """The sums of other scorers, by name."""


AfterBatch = Callable[[int, int], None]
"""Called after each batch with the number of batches done and the number of items in the last."""


class Scoring:
    """One benchmark's items, encoded and cut into batches and portions, ready to be scored."""

    def __init__(
        self,
        bound: BoundModel,
        items: Sequence[Item],
        role: Role,
        settings: ScoreSettings,
        *,
        gradient_checkpointing: bool = False,
        scorers: Sequence[Scorer] = (),
        halves: bool = False,
    ) -> None:
        """`gradient_checkpointing` takes less memory and more time, and gives the same scores.

        `scorers` are those beside gradient × activation. With `halves` a portion holds items of one half of
        the questions only (`halving`).
        """
        self._scorers = scorers
        self._bound = bound
        self._items = items
        self._clamp_at_zero = role == "control"
        self._settings = settings
        self._checkpointing = gradient_checkpointing
        encoded = Encoder(bound).encode_all(items)
        self.batches: list[Batch] = []
        self.portions: list[range] = []
        self.half_of_portion: list[int | None] = []
        """Which half of the questions a portion holds, 1 or 2; None for both."""
        for half, places in self._shares(halves):
            batches = make_batches([encoded[place] for place in places], settings.token_budget)
            most = MOST_PORTIONS if half is None else MOST_PORTIONS // 2
            self.portions += split_batches(len(batches), most, len(self.batches))
            self.batches += [batch.renumbered(places) for batch in batches]
            self.half_of_portion += [half] * (len(self.portions) - len(self.half_of_portion))

    def _shares(self, halves: bool) -> list[tuple[int | None, Sequence[int]]]:
        """The items that are batched together: all, or those of each half that has any."""
        if not halves:
            return [(None, range(len(self._items)))]
        half_of = half_of_items(self._items)
        shares = [(half, np.flatnonzero(half_of == half).tolist()) for half in (1, 2)]
        return [(half, places) for half, places in shares if places]

    def places(self, portion: int) -> NDArray[np.int64]:
        """Places of a portion's items in file order, ascending."""
        numbers = [place for number in self.portions[portion] for place in self.batches[number].numbers]
        return np.sort(np.array(numbers, dtype=np.int64))

    def empty(self) -> BenchmarkScores:
        """A table for the cultures of all items, in order of first appearance."""
        cultures = list(dict.fromkeys(item.culture for item in self._items))
        n_neurons = self._bound.layout.n_neurons
        return BenchmarkScores(
            CultureMoments.zeros(cultures, n_neurons),
            Outcomes.empty(self._items),
            scorers={scorer.name: CultureMoments.zeros(cultures, n_neurons) for scorer in self._scorers},
        )

    def score(
        self,
        portion: int,
        scores: BenchmarkScores,
        *,
        keeper: Keeper | None = None,
        after_batch: AfterBatch = lambda batches_done, n_items: None,
    ) -> None:
        """Score a portion into its table `scores`, from the batch on that `scores` has come to.

        A batch that does not fit into memory is halved until it does. Items of a control benchmark have
        their weighted scores clamped at zero (METHOD §1). Raises NonFiniteError, naming module, layer and
        item, where an activation or gradient is not finite, and EnvironmentProblem where a single item does
        not fit into memory.
        """
        accumulator = Accumulator(
            scores.moments,
            self._settings.aggregator,
            clamp_at_zero=self._clamp_at_zero,
            keeper=keeper,
            others=[(scorer, scores.scorers[scorer.name]) for scorer in self._scorers],
        )
        with (
            checkpointed(self._bound) if self._checkpointing else contextlib.nullcontext(),
            AnswerReader(self._bound) as reader,
            Capture(self._bound, accumulator.add) as capture,
        ):
            targets = tuple(dict.fromkeys(t for scorer in self._scorers for t in scorer.targets))
            pieces = _Pieces(self._bound, reader, capture, accumulator, scores.outcomes, targets)
            for number in self.portions[portion][scores.batches_done :]:
                if keeper:
                    keeper.begin(number)
                pieces.score(self.batches[number])
                if keeper:
                    keeper.end(number)
                scores.batches_done += 1
                after_batch(scores.batches_done, len(self.batches[number].items))


def score_benchmark(
    bound: BoundModel,
    items: Sequence[Item],
    role: Role,
    settings: ScoreSettings,
    *,
    after_batch: AfterBatch = lambda batches_done, n_items: None,
    gradient_checkpointing: bool = False,
    scorers: Sequence[Scorer] = (),
) -> BenchmarkScores:
    """Score `items` in memory: the numbers that `culnig.extraction.run.score_run` stores, to the bit.

    Raises as `Scoring.score` does.
    """
    scoring = Scoring(
        bound, items, role, settings, gradient_checkpointing=gradient_checkpointing, scorers=scorers
    )
    total = scoring.empty()
    for portion in range(len(scoring.portions)):
        part = scoring.empty()
        part.outcomes = total.outcomes
        before = total.batches_done
        scoring.score(
            portion,
            part,
            after_batch=lambda done, n_items, before=before: after_batch(before + done, n_items),  # type: ignore[misc]
        )
        total.moments.add(part.moments)
        for name, moments in part.scorers.items():
            total.scorers[name].add(moments)
        total.batches_done += part.batches_done
    return total


class _Pieces:
    """Scores batches, in halves where memory runs out."""

    def __init__(
        self,
        bound: BoundModel,
        reader: AnswerReader,
        capture: Capture,
        accumulator: Accumulator,
        outcomes: Outcomes,
        targets: Sequence[Target] = (),
    ) -> None:
        """`targets` are differentiated beside P(gold)."""
        self._bound = bound
        self._reader = reader
        self._capture = capture
        self._targets = targets
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
            if "path" in self._targets:
                self._walk_the_path(batch)
            probabilities = self._reader.logits(batch).softmax(-1)
            confidence = gold_confidence(batch, probabilities)
            if not confidence.isfinite().all():
                raise non_finite_activation(self._bound, self._reader, batch)
            wrong = self._differentiate_others(batch, probabilities)
            self._accumulator.weigh(confidence.detach(), wrong)
            confidence.sum().backward()  # type: ignore[no-untyped-call]
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            return self._accumulator.added
        self._accumulator.finish()
        self._reader.record(batch, probabilities, self._outcomes)
        return None

    def _differentiate_others(self, batch: Batch, probabilities: torch.Tensor) -> torch.Tensor | None:
        """Collect the gradients of targets that the same graph gives; P of the most probable wrong label."""
        wrong = None
        with self._capture.going_on():
            if "wrong" in self._targets:
                wrong = wrong_confidence(batch, probabilities)
                self._collect("wrong", wrong)
            if "log-odds" in self._targets:
                self._collect("log-odds", log_odds(batch, probabilities))
        return None if wrong is None else wrong.detach()

    def _collect(self, target: Target, values: torch.Tensor) -> None:
        with self._accumulator.collecting(target):
            values.sum().backward(retain_graph=True)  # type: ignore[no-untyped-call]

    def _walk_the_path(self, batch: Batch) -> None:
        """Average the gradient of P(gold) while all modules' outputs grow to their full size."""
        for step in range(1, PATH_STEPS + 1):
            with (
                self._capture.scaled(step / PATH_STEPS),
                self._accumulator.collecting("path", 1 / PATH_STEPS),
            ):
                probabilities = self._reader.logits(batch).softmax(-1)
                gold_confidence(batch, probabilities).sum().backward()  # type: ignore[no-untyped-call]


def _does_not_fit(batch: Batch) -> EnvironmentProblem:
    return EnvironmentProblem(
        f"out of memory with the single item {batch.items[0].item.id} of {batch.n_tokens} tokens; add "
        "--gradient-checkpointing, load with --dtype bfloat16 or --quantize 4bit, or spread the model over "
        "several devices with --device-map auto. `culnig-engine plan` says what fits"
    )
