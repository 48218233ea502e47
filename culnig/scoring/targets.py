"""Forward and backward passes of a batch: its target, and the targets that other scorers ask for.

The target is P(gold), or the log-probability of the gold option's text (`scoring.texts`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from culnig.core.outcomes import Outcomes
from culnig.inference.answers import AnswerReader, ReadAnswers, gold_probabilities
from culnig.inference.batches import Batch, padded
from culnig.inference.likelihoods import log_probabilities, reads_texts, record, settle_batches
from culnig.kernels.transfers import to_device
from culnig.models.base import BoundModel
from culnig.scorers.base import PATH_STEPS, Target
from culnig.scoring.accumulator import Accumulator
from culnig.scoring.capture import Capture
from culnig.scoring.diagnosis import non_finite_activation
from culnig.scoring.scaling import (
    ATTEMPTS,
    LOWER_BY,
    Exponents,
    Scale,
    is_narrow,
    target_exponents,
)
from culnig.scoring.texts import read_wrong_texts

if TYPE_CHECKING:
    import torch

    from culnig.inference.relevance.rules import RelevanceRules


class _Answer(NamedTuple):
    """What a forward pass gave of the items of a batch."""

    target: torch.Tensor
    """(item,), attached to the graph."""
    sizes: NDArray[np.float64] | None
    """Its values, (item,); None if their logarithm is the target."""
    p_gold: NDArray[np.float64]
    """The weights of the scores, (item,): P(gold), or the share of the gold option's text."""
    of_labels: tuple[torch.Tensor, ReadAnswers] | None = None
    """Probabilities (item, vocabulary), and the answers; None where options are texts."""


class BatchPasses:
    """Runs batches through an open reader and capture, whose pairs go to the accumulator."""

    def __init__(
        self,
        bound: BoundModel,
        reader: AnswerReader,
        capture: Capture,
        accumulator: Accumulator,
        targets: Sequence[Target] = (),
        rules: RelevanceRules | None = None,
    ) -> None:
        """`targets` are differentiated in addition to that of the batch, some of them by `rules`."""
        self._bound = bound
        self._reader = reader
        self._capture = capture
        self._accumulator = accumulator
        self._targets = targets
        self._rules = rules
        self._narrow = is_narrow(bound.model)
        self._lowered: dict[Target | Literal["gold"], Exponents] = {}
        """By target: how far below its usual power of two each item of the batch is scaled."""

    def run(self, batch: Batch, outcomes: Outcomes) -> None:
        """Score a batch and record its answers. A run that fails can be repeated in halves."""
        self._lowered = {}
        whole = False
        while not whole:
            steps = max((lowered.max() for lowered in self._lowered.values()), default=0) // LOWER_BY
            self._accumulator.begin(batch, may_overflow=self._narrow and steps < ATTEMPTS - 1)
            whole = self._run(batch, outcomes)
        self._accumulator.finish()
        self._accumulator.count_routed(outcomes, self._bound.layout.experts)

    def rehearse(self, batch: Batch) -> None:
        """The forward and backward passes of a batch, in the same order, without scores."""
        with self._capture.discarding():
            for _ in range(PATH_STEPS if "path" in self._targets else 0):
                self._forward(batch).sum().backward()  # type: ignore[no-untyped-call]
            target = self._forward(batch).sum()
            for _ in set(self._targets) - {"path"}:
                target.backward(retain_graph=True)  # type: ignore[no-untyped-call]
            target.backward()  # type: ignore[no-untyped-call]

    def _forward(self, batch: Batch) -> torch.Tensor:
        """The target of each item, attached to the graph."""
        logits = self._reader.logits(batch)
        if reads_texts(batch):
            return log_probabilities(batch, logits)
        return gold_probabilities(batch, logits.softmax(-1))

    def _answer(self, batch: Batch, outcomes: Outcomes) -> _Answer:
        """The forward pass, and the answers on the host."""
        if reads_texts(batch):
            return self._answer_by_texts(batch, outcomes)
        probabilities = self._reader.logits(batch).softmax(-1)
        answers = self._reader.read(batch, probabilities)
        p_gold = answers.p_gold
        if not np.isfinite(p_gold).all():
            raise non_finite_activation(self._bound, self._reader, batch)
        return _Answer(gold_probabilities(batch, probabilities), p_gold, p_gold, (probabilities, answers))

    def _answer_by_texts(self, batch: Batch, outcomes: Outcomes) -> _Answer:
        # before the pass with a graph: with checkpointing that one must be the last
        read_wrong_texts(self._bound, self._reader, batch, outcomes)
        target = self._forward(batch)
        if not target.isfinite().all():
            raise non_finite_activation(self._bound, self._reader, batch)
        record(batch, target.detach(), outcomes)
        settle_batches([batch], outcomes)
        return _Answer(target, None, outcomes.p_gold[list(batch.numbers)])

    def _run(self, batch: Batch, outcomes: Outcomes) -> bool:
        """Whether the whole batch was scored; if not, gradients overflowed and their scale is now lower."""
        if "path" in self._targets and not self._walk_the_path(batch):
            return False
        answer = self._answer(batch, outcomes)
        wrong = None
        with self._capture.keeping_activations():
            if answer.of_labels is not None:
                probabilities, answers = answer.of_labels
                if "wrong" in self._targets:
                    wrong = most_probable_wrong(batch, answers)
                    if not self._collect("wrong", wrong_label_probabilities(batch, probabilities), wrong):
                        return False
                if "log-odds" in self._targets and not self._collect(
                    "log-odds", log_odds(batch, probabilities)
                ):
                    return False
            if not self._collect_by_rules(batch, answer):
                return False
        scale = self._scale("gold", answer.sizes, len(batch.items))
        self._accumulator.weigh(answer.p_gold, wrong, scale)
        scale.of(answer.target).sum().backward()  # type: ignore[no-untyped-call]
        if not self._is_whole("gold", self._accumulator.overflowed()):
            return False
        if answer.of_labels is not None:
            self._reader.record(batch, answer.of_labels[1], outcomes)
        return True

    def _scale(
        self, target: Target | Literal["gold"], sizes: NDArray[np.float64] | None, n_items: int
    ) -> Scale:
        exponents = target_exponents(sizes, n_items, narrow=self._narrow)
        return Scale(exponents - self._lowered[target] if target in self._lowered else exponents)

    def _is_whole(self, target: Target | Literal["gold"], overflowed: NDArray[np.bool_]) -> bool:
        """Whether no gradient of the pass overflowed; lowers the scale of the items whose gradients did."""
        if not overflowed.any():
            return True
        lowered = self._lowered.setdefault(target, np.zeros(len(overflowed), dtype=np.int64))
        lowered[overflowed] += LOWER_BY
        return False

    def _collect(
        self, target: Target, values: torch.Tensor, sizes: NDArray[np.float64] | None = None
    ) -> bool:
        """Collect the gradients of a target that needs only this graph."""
        scale = self._scale(target, sizes, len(values))
        with self._accumulator.collecting(target, scale):
            scale.of(values).sum().backward(retain_graph=True)  # type: ignore[no-untyped-call]
        return self._is_whole(target, self._accumulator.collected_overflow())

    def _collect_by_rules(self, batch: Batch, answer: _Answer) -> bool:
        """Collect the relevances of the targets that follow relevance rules."""
        if self._rules is None:
            return True
        with self._rules.acting():
            if "relevance" in self._targets and not self._collect("relevance", answer.target, answer.sizes):
                return False
            if answer.of_labels is None or "relevance-log-odds" not in self._targets:
                return True
            return self._collect("relevance-log-odds", log_odds(batch, answer.of_labels[0]))

    def _walk_the_path(self, batch: Batch) -> bool:
        """Average the gradient of the target while the outputs of all modules grow to their full size."""
        for step in range(1, PATH_STEPS + 1):
            with self._capture.scaled(step / PATH_STEPS):
                target = self._forward(batch)
                sizes = None if reads_texts(batch) else target.detach().cpu().double().numpy()
                scale = self._scale("path", sizes, len(batch.items))
                with self._accumulator.collecting("path", scale, 1 / PATH_STEPS):
                    scale.of(target).sum().backward()  # type: ignore[no-untyped-call]
            if not self._is_whole("path", self._accumulator.collected_overflow()):
                return False
        return True


def most_probable_wrong(batch: Batch, answers: ReadAnswers) -> NDArray[np.float64]:
    """Probability of the most probable label that is not right, shape (item,), from the answers."""
    return np.array(
        [
            max(
                answers.options[row, option]
                for option, label in enumerate(encoded.option_ids)
                if encoded.item.options[option] not in encoded.item.right
            )
            for row, encoded in enumerate(batch.items)
        ]
    )


def wrong_label_probabilities(batch: Batch, probabilities: torch.Tensor) -> torch.Tensor:
    """Probability of the most probable label that is not right, shape (item,)."""
    import torch

    return torch.stack([row.max() for row in _wrong_labels(batch, probabilities)])


def log_odds(batch: Batch, probabilities: torch.Tensor) -> torch.Tensor:
    """log P(gold) − log of the summed probability of all wrong labels, shape (item,)."""
    import torch

    wrong = torch.stack([row.sum() for row in _wrong_labels(batch, probabilities)])
    return gold_probabilities(batch, probabilities).log() - wrong.log()


def _wrong_labels(batch: Batch, probabilities: torch.Tensor) -> list[torch.Tensor]:
    """Probabilities of each item's labels that are not right."""
    labels = [
        [
            label
            for text, label in zip(encoded.item.options, encoded.option_ids, strict=True)
            if text not in encoded.item.right
        ]
        for encoded in batch.items
    ]
    ids = to_device(padded(labels), probabilities.device)
    return [probabilities[row, ids[row, : len(own)]] for row, own in enumerate(labels)]
