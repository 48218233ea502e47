"""A model of the hub, read from the hub's cache on this machine: the same checks as for a folder."""

from __future__ import annotations

import shutil
import warnings

import pytest
from huggingface_hub import constants

from culnig import load_model
from culnig.errors import ModelLoadError
from culnig.models.loaded import ModelWarning
from tests.models.refused import REFUSED, write_model
from tests.models.test_adapters import lora, train

pytestmark = pytest.mark.filterwarnings("ignore:.*deprecated:FutureWarning")

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def publish(tmp_path, monkeypatch):
    """Put a model folder where the hub's client keeps what it downloaded; returns the model's name."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))

    def write(folder):
        name = f"owner/{folder.name}"
        repository = tmp_path / "hub" / f"models--{name.replace('/', '--')}"
        (repository / "refs").mkdir(parents=True)
        (repository / "refs" / "main").write_text(COMMIT)
        shutil.copytree(folder, repository / "snapshots" / COMMIT)
        return name

    return write


def test_a_complete_model_loads_at_its_revision(publish, tmp_path):
    folder = write_model(tmp_path / "whole")
    name = publish(folder)
    expected = load_model(str(folder), device="cpu").weights_hash
    for revision in (None, "main", COMMIT):
        assert load_model(name, device="cpu", revision=revision).weights_hash == expected
    with pytest.raises(ModelLoadError, match="owner/whole"):
        load_model(name, device="cpu", revision="other")


@pytest.mark.parametrize(
    "kind", ["tensor missing", "mis-shaped", "int8 without scales", "PaliGemma", "no heads"]
)
def test_a_model_that_is_refused_as_a_folder_is_refused_by_its_name(kind, publish, tmp_path):
    folder = tmp_path / "broken"
    folder.mkdir()
    refused = REFUSED[kind]
    name = publish(refused.write(folder))
    words = refused.words if kind != "no heads" else "cannot load model 'owner/broken'"
    with pytest.raises(ModelLoadError if "Pali" not in kind else Exception, match=words):
        load_model(name, device="cpu")


def test_an_adapter_beside_the_weights_is_not_applied(publish, tmp_path):
    base = write_model(tmp_path / "base")
    train(base, tmp_path / "adapter", lora())
    expected = load_model(str(base), device="cpu").weights_hash
    for path in (tmp_path / "adapter").glob("adapter_*"):
        shutil.copy(path, base)
    name = publish(base)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ModelWarning)
        assert load_model(name, device="cpu").weights_hash == expected
