"""The embedded model, read once per process of the tests: that takes longer than most commands with it."""

from __future__ import annotations

import functools
from typing import Any

import pytest

from culnig import registry
from culnig.models import loading
from culnig.models.base import BoundModel
from culnig.models.settings import LoadSettings

_load = loading.load_model


@functools.cache
def embedded_model() -> BoundModel:
    """In float32 on the CPU, loaded as commands load it. A test that changes it restores it."""
    return _load("embedded", registry.adapters(), LoadSettings(dtype="float32", device="cpu"))


def lend_to_commands(patch: pytest.MonkeyPatch) -> None:
    """Commands of this process take `embedded_model`, under the attention that they ask for."""

    def load(source: str, adapters: Any, settings: LoadSettings, *, skeleton: Any = None) -> BoundModel:
        assert source == "embedded"
        assert settings.dtype == "float32"
        bound = embedded_model()
        bound.model.set_attn_implementation("sdpa" if settings.attention == "auto" else settings.attention)
        return bound

    patch.setattr(loading, "load_model", load)
