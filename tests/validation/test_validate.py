"""The planted ground truth: what has to hold of the sets, and of the methods that look for them."""

from __future__ import annotations

import pytest
import torch

from culnig.validation.effects import measure_effects
from culnig.validation.planted import planted_model
from culnig.validation.planting import SHARED
from culnig.validation.settings import PlantedSettings
from culnig.validation.validate import validate
from tests.planted import planted  # noqa: F401 - a fixture

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def validation(planted, tmp_path_factory):  # noqa: F811
    return validate(planted.settings, tmp_path_factory.mktemp("validation"))


def test_the_model_is_trained_once(planted):  # noqa: F811
    assert planted_model(PlantedSettings()) is planted


def test_a_fresh_copy_answers_alike_and_may_be_changed(planted):  # noqa: F811
    fresh = planted.fresh()
    assert fresh.weights_hash == planted.bound.weights_hash
    with torch.no_grad():
        fresh.model.get_input_embeddings().weight.zero_()
    assert fresh.weights_hash != planted.bound.weights_hash


def test_the_planted_sets_carry_the_facts(planted):  # noqa: F811
    effects = measure_effects(planted)
    assert effects.known_share >= 0.95
    cultures = planted.world.cultures
    for culture in cultures:
        assert effects.masked[culture][culture] <= effects.chance + 0.05
        assert effects.masked[SHARED][culture] <= effects.chance + 0.05
        others = [other for other in effects.known if other != culture]
        losses = [effects.known[other] - effects.masked[culture][other] for other in others]
        assert max(losses) <= 0.05
    assert effects.known["general"] >= 0.95


def test_the_targets(validation):
    assert [target.name for target in validation.targets if not target.holds] == []
