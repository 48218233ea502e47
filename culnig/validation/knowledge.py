"""The knowledge check: a method that scores higher than what the model knows can account for is flattered."""

from __future__ import annotations

from culnig.validation.judging import MethodResult
from culnig.validation.targets import KNOWN


def beyond_chance(value: float, chance: float) -> float:
    """How far a value is from chance (0) to perfection (1); negative below chance."""
    return (value - chance) / (1 - chance) if chance < 1 else 0.0


def is_flattered(result: MethodResult, known_share: float, chance: float) -> bool:
    """Whether a method's AP is further above chance than the model's accuracy on the facts.

    Neurons that carry facts cannot be found where no facts are known: such an AP is the world's doing, not
    the method's. Never where the model knows the facts, a share of at least KNOWN.
    """
    if known_share >= KNOWN:
        return False
    gains = [
        beyond_chance(recovery.average_precision, recovery.chance_average_precision)
        for recovery in (result.general, result.specific)
    ]
    return max(gains) > max(0.0, beyond_chance(known_share, chance))
