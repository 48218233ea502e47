from __future__ import annotations

import pytest

from culnig.errors import InputError
from culnig.training.settings import TrainSettings


def test_the_papers_settings_are_the_defaults():
    settings = TrainSettings()
    assert (settings.learning_rate, settings.batch_size, settings.accumulation) == (3e-5, 4, 4)
    assert (settings.epochs, settings.seed) == (1, 42)


@pytest.mark.parametrize(
    "wrong",
    [{"learning_rate": 0}, {"batch_size": -1}, {"examples": 0}, {"lora_rank": 0}, {"epochs": float("nan")}],
)
def test_impossible_numbers_are_named(wrong):
    (name,) = wrong
    with pytest.raises(InputError, match=f"{name.removesuffix('_rank')} is .*above 0"):
        TrainSettings(**wrong)
