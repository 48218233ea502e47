"""The planted model that tests share: trained once per session (about a minute), by whoever asks first.

`from tests.planted import planted` makes the session fixture available to a test file; mark such tests slow.
Its model belongs to everybody: mask it, but take `planted.fresh()` to change weights.
"""

from __future__ import annotations

import pytest

from culnig.validation.planted import PlantedModel, planted_model


@pytest.fixture(scope="session")
def planted() -> PlantedModel:
    """The planted model of the default size and seed."""
    return planted_model()


BASELINES = ("crispr", "gradient-norm", "mean-activation", "positive-tokens", "random")
"""Statistics that use only one of gradient and activation, look for something else, or for nothing."""
