"""Do the planted sets carry the facts? Accuracy without a mask, and with each set masked.

It covers the items of both splits, with the answer reader and interventions of an evaluation.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from culnig.core.items import NO_CULTURE, Item
from culnig.core.outcomes import Outcomes
from culnig.inference.answers import AnswerReader
from culnig.inference.batches import DEFAULT_TOKEN_BUDGET, make_batches
from culnig.inference.encoding import Encoder
from culnig.models.base import BoundModel
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
    """Accuracies by masked set: a culture's, the shared one, or decoys."""
    chance: float
    """Accuracy of guessing among the answers."""

    @property
    def known_share(self) -> float:
        """Share of the cultures' taught facts that the model knows; all cultures have about equally many."""
        return float(np.mean([self.known[culture] for culture in self.cultures]))

    @property
    def worst_own(self) -> float:
        """Highest accuracy of a culture when its own set is masked."""
        return max(self.masked[culture][culture] for culture in self.cultures)

    @property
    def worst_shared(self) -> float:
        """Highest accuracy of a culture when the shared set is masked."""
        return max(self.masked[SHARED][culture] for culture in self.cultures)

    @property
    def worst_other(self) -> float:
        """Largest loss of accuracy on another culture, or on the general facts, when a culture's set is "
        "masked."""
        return max(
            self.known[other] - self.masked[culture][other]
            for culture in self.cultures
            for other in self.known
            if other != culture
        )

    @property
    def cultures(self) -> list[str]:
        """The cultures whose facts were asked."""
        return [culture for culture in self.known if culture != NO_CULTURE]


def measure_effects(planted: PlantedModel) -> Effects:
    """Mask each planted set in turn."""
    benchmarks = planted.world.benchmarks
    items = [item for name in (FACTS, GENERAL_FACTS) if name in benchmarks for item in benchmarks[name].items]
    if planted.taught is not None:
        items = [item for item in items if item.culture == NO_CULTURE or item.id in planted.taught]

    def accuracies(masked: NeuronSet | None) -> Accuracies:
        with contextlib.nullcontext() if masked is None else intervene(planted.bound, masked):
            return accuracy_by_culture(planted.bound, items)

    return Effects(
        known=accuracies(None),
        masked={name: accuracies(chosen) for name, chosen in {**planted.sets, **planted.decoys}.items()},
        chance=float(np.mean([1 / len(item.options) for item in benchmarks[FACTS].items])),
    )


def accuracy_by_culture(bound: BoundModel, items: Sequence[Item]) -> Accuracies:
    """Share of the items whose most probable next token is the gold label."""
    batches, outcomes = (
        make_batches(Encoder(bound).encode_all(items), DEFAULT_TOKEN_BUDGET),
        Outcomes.empty(items),
    )
    with AnswerReader(bound) as reader:
        reader.answer_all(batches, outcomes)
    cultures = dict.fromkeys(item.culture for item in items)
    return {culture: float(outcomes.correct[outcomes.culture == culture].mean()) for culture in cultures}
