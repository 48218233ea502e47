"""Sizes that cannot be are refused with a reason."""

from __future__ import annotations

import pytest

from culnig.errors import InputError
from culnig.validation.settings import CULTURES, PlantedSettings


def test_the_sets_of_all_cultures_and_the_shared_one_are_counted():
    assert PlantedSettings(cultures=5, neurons_per_culture=7).n_planted == 42


@pytest.mark.parametrize(
    ("sizes", "reason"),
    [
        ({"cultures": 2}, "cultures is 2; give at least 3, which z over cultures needs"),
        ({"cultures": len(CULTURES) + 1}, "at most 16"),
        ({"questions": 1}, "questions is 1; give at least 2"),
        ({"neurons_per_culture": 0}, "neurons per culture is 0; give at least 1"),
        ({"layers": 1}, "layers is 1; give at least 2"),
        ({"mlp_width": 4}, "mlp width is 4; give at least 8"),
        ({"seed": -1}, "seed is -1; give at least 0"),
        ({"experts": 0}, "experts is 0; give at least 1"),
        ({"experts": 3}, "3 experts cannot have equal shares of 256 MLP neurons; give a multiple"),
        ({"neurons_per_culture": 57}, "513 planted neurons; at most half of this model's 1,024"),
    ],
)
def test_impossible_sizes_are_refused(sizes, reason):
    with pytest.raises(InputError, match=reason):
        PlantedSettings(**sizes)


def test_half_of_the_neurons_can_be_planted():
    assert PlantedSettings(cultures=7, neurons_per_culture=64).n_planted == 512
