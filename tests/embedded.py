"""The embedded model, read once per process of the tests: that takes longer than most commands with it."""

from __future__ import annotations

import functools
from typing import Any

import pytest
from culnig.cli.model_options import ModelChoice

from culnig.models.base import BoundModel

_load = ModelChoice.load


@functools.cache
def embedded_model() -> BoundModel:
    """In float32 on the CPU, loaded as commands load it; whoever changes it gives it back as it was."""
    return _load(ModelChoice("embedded", {"dtype": "float32", "device": "cpu"}))


def lend_to_commands(patch: pytest.MonkeyPatch) -> None:
    """Commands of this process take `embedded_model`, under the attention that they ask for."""

    def load(choice: ModelChoice, skeleton: Any = None) -> BoundModel:
        assert choice.source == "embedded"
        assert choice.options["dtype"] == "float32"
        asked = choice.options.get("attention", "auto")
        bound = embedded_model()
        bound.model.set_attn_implementation("sdpa" if asked == "auto" else asked)
        return bound

    patch.setattr(ModelChoice, "load", load)
