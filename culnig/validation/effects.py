"""Do the planted sets carry the facts? Accuracy without a mask, and with each set masked.

It covers the items of both splits, with the answer reader and interventions of an evaluation.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

import numpy as np

from culnig.core.outcomes import Outcomes
from culnig.inference.answers import AnswerReader
from culnig.inference.batches import DEFAULT_TOKEN_BUDGET, make_batches
from culnig.inference.encoding import Encoder
from culnig.models.intervention import intervene
from culnig.selection.neuron_set import NeuronSet
from culnig.validation.planted import PlantedModel
from culnig.validation.planting import SHARED
from culnig.validation.world import FACTS, GENERAL_FACTS

Accuracies = dict[str, float]
"""Accuracy by culture; that of the general facts under `NO_CULTURE`."""


@dataclass(frozen=True)
class Effects:
    """Accuracies with and without each planted set."""

    known: Accuracies
    masked: dict[str, Accuracies]
    """Accuracies by masked set: a culture's or the shared one."""
    chance: float
    """Accuracy of guessing among the answers."""

    @property
    def known_share(self) -> float:
        """Share of the cultures' facts that the model knows; all cultures have equally many."""
        return float(np.mean([self.known[culture] for culture in self._cultures]))

    @property
    def worst_own(self) -> float:
        """Highest accuracy of a culture when its own set is masked."""
        return max(self.masked[culture][culture] for culture in self._cultures)

    @property
    def worst_shared(self) -> float:
        """Highest accuracy of a culture when the shared set is masked."""
        return max(self.masked[SHARED][culture] for culture in self._cultures)

    @property
    def worst_other(self) -> float:
        """Largest loss of accuracy on another culture, or on the general facts, when a culture's set is "
        "masked."""
        return max(
            self.known[other] - self.masked[culture][other]
            for culture in self._cultures
            for other in self.known
            if other != culture
        )

    @property
    def _cultures(self) -> list[str]:
        return [name for name in self.masked if name != SHARED]


def measure_effects(planted: PlantedModel) -> Effects:
    """Mask each planted set in turn."""
    benchmarks = planted.world.benchmarks
    items = [item for name in (FACTS, GENERAL_FACTS) if name in benchmarks for item in benchmarks[name].items]
    batches = make_batches(Encoder(planted.bound).encode_all(items), DEFAULT_TOKEN_BUDGET)

    def accuracies(masked: NeuronSet | None) -> Accuracies:
        outcomes = Outcomes.empty(items)
        masking = contextlib.nullcontext() if masked is None else intervene(planted.bound, masked)
        with masking, AnswerReader(planted.bound) as reader:
            reader.answer_all(batches, outcomes)
        cultures = dict.fromkeys(item.culture for item in items)
        return {culture: float(outcomes.correct[outcomes.culture == culture].mean()) for culture in cultures}

    return Effects(
        known=accuracies(None),
        masked={name: accuracies(chosen) for name, chosen in planted.sets.items()},
        chance=float(np.mean([1 / len(item.options) for item in benchmarks[FACTS].items])),
    )
