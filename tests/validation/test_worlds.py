"""The registry of worlds."""

from __future__ import annotations

import pytest

from culnig.errors import InputError, UnknownNameError
from culnig.validation.settings import PlantedSettings
from culnig.validation.worlds import INVENTED, WORLDS, world_kind


def test_a_world_has_its_own_sizes_and_takes_others():
    kind = world_kind(INVENTED)
    assert kind.sized(seed=3, cultures=None) == PlantedSettings(seed=3)
    assert kind.sized(cultures=5) == PlantedSettings(cultures=5)
    assert {name: kind.name for name, kind in WORLDS.items()} == {name: name for name in WORLDS}


def test_unknown_worlds_and_sizes_are_refused():
    with pytest.raises(UnknownNameError, match="unknown world 'invent'; did you mean 'invented'"):
        world_kind("invent")
    with pytest.raises(
        InputError, match="the world 'invented' has no setting 'mlp depth'; it has seed, cultures"
    ):
        world_kind(INVENTED).sized(mlp_depth=3)
