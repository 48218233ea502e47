"""Batches through the model, in halves where memory runs out.

A batch that runs out of memory goes on as two halves, which add what it has not added yet: every item is in
every neuron's sum once, and in the same order.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from culnig.core.outcomes import Outcomes
from culnig.errors import EnvironmentProblem
from culnig.inference.answers import AnswerReader, gold_probabilities
from culnig.inference.batches import Batch
from culnig.inference.memory import is_out_of_memory, release_memory
from culnig.inference.shared_batches import SharedBatch, whole
from culnig.models.base import BoundModel
from culnig.scorers.base import PATH_STEPS, Target
from culnig.scoring.accumulator import Accumulator, Added
from culnig.scoring.capture import Capture
from culnig.scoring.diagnosis import non_finite_activation
from culnig.scoring.sharing import SharedScoring
from culnig.scoring.targets import log_odds, wrong_label_probabilities

if TYPE_CHECKING:
    import torch


class Pieces:
    """Scores batches, in halves where memory runs out."""

    def __init__(
        self,
        bound: BoundModel,
        reader: AnswerReader,
        capture: Capture,
        accumulator: Accumulator,
        outcomes: Outcomes,
        token_budget: int,
        targets: Sequence[Target] = (),
    ) -> None:
        """`targets` are differentiated beside P(gold); batches that share prefixes have no others."""
        self._bound = bound
        self._reader = reader
        self._capture = capture
        self._targets = targets
        self._accumulator = accumulator
        self._outcomes = outcomes
        self._shared = SharedScoring(bound, reader, capture, accumulator, token_budget)
        self._too_large: float = math.inf
        """Tokens of the smallest batch that did not fit: later ones of that size are halved at once."""

    def score(self, batch: SharedBatch | Batch, added: Added = frozenset()) -> None:
        """Score a batch; `added` are the segments that have its scores already."""
        alone = len(whole(batch).items) == 1
        if alone or batch.n_tokens < self._too_large:
            before = self._attempt(batch, added)
            if before is None:
                return
            added = before
            release_memory()
            if alone:
                raise _does_not_fit(whole(batch))
            self._too_large = min(self._too_large, batch.n_tokens)
        for half in batch.halves():
            self.score(half, added)

    def _attempt(self, batch: SharedBatch | Batch, added: Added) -> Added | None:
        """Score a batch in one go; where memory runs out, return the segments that are through by then."""
        self._accumulator.begin(whole(batch), added)
        try:
            if isinstance(batch, SharedBatch):
                self._shared.score(batch, self._outcomes)
            else:
                self._score_whole_prompts(batch)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            return self._accumulator.added
        self._accumulator.finish()
        return None

    def _score_whole_prompts(self, batch: Batch) -> None:
        if "path" in self._targets:
            self._walk_the_path(batch)
        probabilities = self._reader.logits(batch).softmax(-1)
        p_gold = gold_probabilities(batch, probabilities)
        if not p_gold.isfinite().all():
            raise non_finite_activation(self._bound, self._reader, batch)
        wrong = self._differentiate_others(batch, probabilities)
        self._accumulator.weigh(p_gold.detach(), wrong)
        p_gold.sum().backward()  # type: ignore[no-untyped-call]
        self._reader.record(batch, probabilities, self._outcomes)

    def _differentiate_others(self, batch: Batch, probabilities: torch.Tensor) -> torch.Tensor | None:
        """Collect the gradients of targets that the same graph gives; P of the most probable wrong label."""
        wrong = None
        with self._capture.going_on():
            if "wrong" in self._targets:
                wrong = wrong_label_probabilities(batch, probabilities)
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
                gold_probabilities(batch, probabilities).sum().backward()  # type: ignore[no-untyped-call]


def _does_not_fit(batch: Batch) -> EnvironmentProblem:
    return EnvironmentProblem(
        f"out of memory with the single item {batch.items[0].item.id} of {batch.n_tokens} tokens; add "
        "--gradient-checkpointing, load with --dtype bfloat16 or --quantize 4bit, or spread the model over "
        "several devices with --device-map auto. `culnig-engine plan` says what fits"
    )
