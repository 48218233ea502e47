"""Forward and backward passes of a batch: P(gold), and the targets that other scorers ask for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from culnig.core.outcomes import Outcomes
from culnig.inference.answers import AnswerReader, gold_probabilities
from culnig.inference.batches import Batch
from culnig.models.base import BoundModel
from culnig.scorers.base import PATH_STEPS, Target
from culnig.scoring.accumulator import Accumulator
from culnig.scoring.capture import Capture
from culnig.scoring.diagnosis import non_finite_activation

if TYPE_CHECKING:
    import torch


class BatchPasses:
    """Runs batches through an open reader and capture, whose pairs go to the accumulator."""

    def __init__(
        self,
        bound: BoundModel,
        reader: AnswerReader,
        capture: Capture,
        accumulator: Accumulator,
        targets: Sequence[Target] = (),
    ) -> None:
        """`targets` are differentiated in addition to P(gold)."""
        self._bound = bound
        self._reader = reader
        self._capture = capture
        self._accumulator = accumulator
        self._targets = targets

    def run(self, batch: Batch, outcomes: Outcomes) -> None:
        """Score a batch and record its answers. A run that fails can be repeated in halves."""
        self._accumulator.begin(batch)
        if "path" in self._targets:
            self._walk_the_path(batch)
        probabilities = self._reader.logits(batch).softmax(-1)
        p_gold = gold_probabilities(batch, probabilities)
        if not p_gold.isfinite().all():
            raise non_finite_activation(self._bound, self._reader, batch)
        wrong = self._differentiate_other_targets(batch, probabilities)
        self._accumulator.weigh(p_gold.detach(), wrong)
        p_gold.sum().backward()  # type: ignore[no-untyped-call]
        self._reader.record(batch, probabilities, outcomes)
        self._accumulator.finish()

    def _differentiate_other_targets(self, batch: Batch, probabilities: torch.Tensor) -> torch.Tensor | None:
        """Collect gradients of the targets that need only this graph; P of the most probable wrong label."""
        wrong = None
        with self._capture.keeping_activations():
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
        """Average the gradient of P(gold) while the outputs of all modules grow to their full size."""
        for step in range(1, PATH_STEPS + 1):
            with (
                self._capture.scaled(step / PATH_STEPS),
                self._accumulator.collecting("path", 1 / PATH_STEPS),
            ):
                probabilities = self._reader.logits(batch).softmax(-1)
                gold_probabilities(batch, probabilities).sum().backward()  # type: ignore[no-untyped-call]


def wrong_label_probabilities(batch: Batch, probabilities: torch.Tensor) -> torch.Tensor:
    """Probability of the most probable label that is not the gold label, shape (item,)."""
    import torch

    return torch.stack([row.max() for row in _wrong_labels(batch, probabilities)])


def log_odds(batch: Batch, probabilities: torch.Tensor) -> torch.Tensor:
    """log P(gold) − log of the summed probability of all other labels, shape (item,)."""
    import torch

    wrong = torch.stack([row.sum() for row in _wrong_labels(batch, probabilities)])
    gold = torch.stack([probabilities[row, encoded.gold_id] for row, encoded in enumerate(batch.items)])
    return gold.log() - wrong.log()


def _wrong_labels(batch: Batch, probabilities: torch.Tensor) -> list[torch.Tensor]:
    """Probabilities of each item's labels that are not the gold label."""
    return [
        probabilities[row, [label for label in encoded.option_ids if label != encoded.gold_id]]
        for row, encoded in enumerate(batch.items)
    ]
