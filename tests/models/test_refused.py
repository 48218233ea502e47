"""Models that must not be scored are refused, by the skeleton too where the configuration tells."""

from __future__ import annotations

import pytest

from culnig import load_model
from culnig.errors import InputError
from culnig.models.named import model_without_weights
from tests.models.refused import REFUSED


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("CULNIG_CACHE", str(folder))
    return folder


@pytest.mark.parametrize("kind", REFUSED)
def test_a_model_is_refused_with_the_reason(kind, tmp_path, cache):
    refused = REFUSED[kind]
    source = str(refused.write(tmp_path))
    with pytest.raises(InputError, match=rf"(?s){refused.words}") as loading:
        load_model(source, device="cpu", **refused.keywords)
    assert not list(cache.glob("gguf/*/entry.json"))
    if refused.by_configuration:
        with pytest.raises(InputError) as planning:
            model_without_weights(source, **refused.keywords)
        assert str(planning.value) == str(loading.value)
    else:
        model_without_weights(source, **refused.keywords)
