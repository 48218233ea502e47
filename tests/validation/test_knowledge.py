"""Methods that score higher than what the model knows."""

from __future__ import annotations

import pytest

from culnig.validation.judging import MethodResult
from culnig.validation.knowledge import beyond_chance, is_flattered
from culnig.validation.methods import JUDGED
from culnig.validation.recovery import Recovery


def result(general: float, specific: float) -> MethodResult:
    general_recovery, own = (
        Recovery(ap, 0, 0, 0, 0, 0.1, chance_average_precision=0.1) for ap in (general, specific)
    )
    return MethodResult(JUDGED, general_recovery, {"Iran": own, "Spain": own})


def test_beyond_chance_by_hand():
    assert beyond_chance(0.55, 0.1) == pytest.approx(0.5)
    assert beyond_chance(1, 0.25) == 1
    assert beyond_chance(0.1, 0.1) == 0
    assert beyond_chance(1, 1) == 0


def test_the_trial_that_began_it_is_flagged():
    """General AP was 0.90 in a world whose model knew 14 % of its facts."""
    assert is_flattered(result(0.9, 0.1), 0.14, 1 / 16)
    assert not is_flattered(result(0.9, 0.4), 0.99, 1 / 16)


def test_a_method_may_find_as_much_as_is_known():
    # knowledge beyond chance is 0.5; AP beyond chance is 0.4, and 0.6
    assert not is_flattered(result(0.46, 0.2), 0.55, 0.1)
    assert is_flattered(result(0.2, 0.64), 0.55, 0.1)
    assert not is_flattered(result(0.1, 0.1), 0.05, 0.1)
