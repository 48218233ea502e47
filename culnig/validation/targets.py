"""What has to hold of a world: that its sets carry the facts, and that the judged method finds them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from culnig.validation.methods import CONTRIBUTION, JUDGED, Method

if TYPE_CHECKING:
    from culnig.validation.effects import Effects
    from culnig.validation.judging import MethodResult

KNOWN = 0.95
POINTS = 0.05
"""Accuracy that may remain above chance under a mask, and that a mask may cost other cultures."""
EARNED = 0.01
"""AP that a step of the paper has to add where there is something for it to remove."""
GENERAL_AP = 0.9
SPECIFIC_AP = 0.6


@dataclass(frozen=True)
class Target:
    """A condition that must hold."""

    name: str
    value: float
    limit: float
    at_least: bool
    """Whether the value must reach the limit; otherwise it must not exceed it."""

    @property
    def holds(self) -> bool:
        """Whether the condition holds."""
        return self.value >= self.limit if self.at_least else self.value <= self.limit


def invented_targets(effects: Effects, results: tuple[MethodResult, ...]) -> tuple[Target, ...]:
    """The targets of the invented world: sets that carry the facts, AP, and a lead over other scorers."""
    by_method = {result.method: result for result in results}
    general = by_method[JUDGED].general.average_precision
    specific = by_method[JUDGED].specific.average_precision
    # the judged method ranks by the difference, as in the paper, so compare only with methods that do too
    compared = [
        result
        for result in results
        if result.method.statistic != CONTRIBUTION and result.method.rank_by == "difference"
    ]
    best_general = max(result.general.average_precision for result in compared)
    best_specific = max(result.specific.average_precision for result in compared)
    at_chance = effects.chance + POINTS
    return (
        Target("share of planted facts known", effects.known_share, KNOWN, True),
        Target("highest accuracy with own set masked", effects.worst_own, at_chance, False),
        Target("highest accuracy with shared set masked", effects.worst_shared, at_chance, False),
        Target("largest loss of others by a culture's set", effects.worst_other, POINTS, False),
        Target(f"AP of all planted, {JUDGED.name}", general, GENERAL_AP, True),
        Target(f"mean AP of a culture's, {JUDGED.name}", specific, SPECIFIC_AP, True),
        Target("AP of all planted, lead over the best other scorer", general - best_general, 0.0, True),
        Target(
            "mean AP of a culture's, lead over the best other scorer", specific - best_specific, 0.0, True
        ),
    )


def hard_targets(effects: Effects, results: tuple[MethodResult, ...]) -> tuple[Target, ...]:
    """The targets of the hard world: sets that carry the facts, and steps that earn their keep."""
    by_method = {result.method: result for result in results}
    alone, control = (by_method[Method(CONTRIBUTION, control=control)] for control in (False, True))
    exclusion = by_method[Method(CONTRIBUTION, control=True, exclusion=True)]
    return (
        *_carried(effects),
        Target(
            "AP of all planted in all modules, gain by the control",
            control.general.average_precision_all - alone.general.average_precision_all,
            EARNED,
            True,
        ),
        Target(
            "mean AP of a culture's in all modules, gain by exclusion",
            exclusion.specific.average_precision_all - control.specific.average_precision_all,
            EARNED,
            True,
        ),
    )


def rows_targets(effects: Effects, results: tuple[MethodResult, ...]) -> tuple[Target, ...]:
    """The targets of the real world with known rows: that they carry the facts."""
    return _carried(effects)


def real_targets(effects: Effects, results: tuple[MethodResult, ...]) -> tuple[Target, ...]:
    """The target of the real world: that the model knows the facts."""
    return (Target("share of facts known", effects.known_share, KNOWN, True),)


def _carried(effects: Effects) -> tuple[Target, ...]:
    at_chance = effects.chance + POINTS
    return (
        Target("share of taught facts known", effects.known_share, KNOWN, True),
        Target("highest accuracy with own set masked", effects.worst_own, at_chance, False),
        Target("highest accuracy with shared set masked", effects.worst_shared, at_chance, False),
    )
