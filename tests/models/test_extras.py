"""Adapters, quantization and device maps, as far as a CPU can test them.

Not tested here, for want of hardware: bitsandbytes on CUDA, several devices, flash attention.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from culnig import registry
from culnig.errors import EnvironmentProblem, InputError, ModelLoadError
from culnig.models import loading
from culnig.models.loading import LoadSettings, load_model, load_skeleton
from culnig.models.source import ModelFiles
from culnig.scoring.scoring import ScoreSettings, score_benchmark
from tests.tiny_models import tiny_items, tiny_model
from tests.tolerances import assert_values_equal

# peft asks transformers under names that transformers is about to drop
pytestmark = pytest.mark.filterwarnings("ignore:.*deprecated:FutureWarning")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("model")
    bound = tiny_model()
    bound.model.save_pretrained(path)
    bound.tokenizer.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def adapter(folder, tmp_path_factory):
    """A LoRA adapter with random weights in both matrices."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(3)
    wrapped = get_peft_model(tiny_model().model, LoraConfig(r=2, target_modules=["q_proj", "gate_proj"]))
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if "lora_" in name:
                parameter.normal_(std=0.3)
    path = tmp_path_factory.mktemp("adapter")
    wrapped.save_pretrained(path)
    return path, wrapped.eval()


def load(source, **settings):
    return load_model(str(source), registry.adapters(), LoadSettings(**settings))


def scores(bound):
    return score_benchmark(bound, tiny_items(4), "target", ScoreSettings()).moments.sum


def test_an_adapter_is_merged_into_the_weights(folder, adapter):
    path, wrapped = adapter
    merged, plain = load(folder, adapter=path), load(folder)
    ids = torch.arange(2, 40)[None]
    with torch.no_grad():
        assert_values_equal(merged.model(ids).logits, wrapped(ids).logits)
    assert merged.weights_hash != plain.weights_hash
    assert merged.source.endswith(f"with adapter {path}")
    assert merged.layout.hash == plain.layout.hash
    assert not np.allclose(scores(merged), scores(plain))


def test_a_folder_that_is_not_an_adapter_is_refused(folder, tmp_path):
    with pytest.raises(ModelLoadError, match=r"no adapter_config\.json"):
        load(folder, adapter=tmp_path)
    (tmp_path / "adapter_config.json").write_text("{}")
    (tmp_path / "adapter_model.bin").write_bytes(b"pickle")
    with pytest.raises(ModelLoadError, match=r"no adapter_model\.safetensors.*can run code"):
        load(folder, adapter=tmp_path)


def test_an_adapter_of_another_model_is_named(folder, adapter, tmp_path):
    path, _ = adapter
    (tmp_path / "adapter_model.safetensors").write_bytes((path / "adapter_model.safetensors").read_bytes())
    text = (
        (path / "adapter_config.json").read_text().replace("gate_proj", "other_proj").replace("q_proj", "no")
    )
    (tmp_path / "adapter_config.json").write_text(text)
    with pytest.raises(ModelLoadError, match=r"cannot merge adapter"):
        load(folder, adapter=tmp_path)


@pytest.mark.parametrize(
    ("package", "settings", "message"),
    [("peft", "adapter", "pip install peft"), ("bitsandbytes", "quantize", "pip install bitsandbytes")],
)
def test_a_missing_package_is_named_with_the_command(
    folder, adapter, monkeypatch, package, settings, message
):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(EnvironmentProblem, match=message):
        load(folder, **{settings: adapter[0] if settings == "adapter" else "4bit"})


@pytest.mark.filterwarnings("ignore")  # bitsandbytes announces kernels that it does not find
@pytest.mark.parametrize("bits", ["4bit", "8bit"])
def test_gradients_pass_through_frozen_quantized_linears(folder, bits):
    bound = load(folder, quantize=bits, device="cpu")
    linear = bound.linears[0].linear
    assert type(linear).__module__.startswith("bitsandbytes")
    found, exact = scores(bound), scores(load(folder, device="cpu"))
    assert np.isfinite(found).all()
    assert np.corrcoef(found.ravel(), exact.ravel())[0, 1] > 0.5  # a tiny model suffers much from rounding
    assert len(bound.weights_hash) == 64


def test_a_device_map_places_every_layer(folder):
    bound = load(folder, device_map="auto")
    np.testing.assert_array_equal(scores(bound), scores(load(folder)))


class StandIn:
    """In place of transformers' class: notes the device map, and loads into memory of the host."""

    def __init__(self, auto_class):
        self.auto_class, self.device_map = auto_class, "not asked for"

    def from_pretrained(self, name, *, device_map, **options):
        self.device_map = device_map
        return self.auto_class.from_pretrained(name, **options)


@pytest.mark.parametrize(
    ("device", "settings", "expected"),
    [
        ("cpu", {}, None),
        ("cuda", {}, {"": torch.device("cuda")}),
        ("cuda:3", {}, {"": torch.device("cuda:3")}),
        ("cpu", {"device_map": "balanced"}, "balanced"),
    ],
)
def test_weights_are_read_straight_to_their_device(folder, monkeypatch, device, settings, expected):
    settings = LoadSettings(**settings)
    skeleton = load_skeleton(str(folder), registry.adapters(), settings)
    skeleton = replace(skeleton, auto_class=StandIn(skeleton.auto_class))
    monkeypatch.setattr(loading, "_device", lambda name: torch.device(device))
    monkeypatch.setattr(torch.nn.Module, "to", lambda module, device: module)  # there is no such device
    load_model(str(folder), registry.adapters(), settings, skeleton=skeleton)
    assert skeleton.auto_class.device_map == expected


@pytest.mark.parametrize(
    ("files", "quantize", "expected"),
    [
        (ModelFiles("folder", Path("a.gguf")), None, None),  # unpacked on the host
        (ModelFiles("folder", Path("a.gguf"), Path("cache")), None, {"": torch.device("cuda")}),
        (ModelFiles("folder", Path("a.gguf")), "4bit", {"": torch.device("cuda")}),
    ],
)
def test_a_gguf_file_is_unpacked_on_the_host_and_read_from_the_cache_to_the_device(files, quantize, expected):
    settings = LoadSettings(quantize=quantize)
    assert loading._placement(files, settings, torch.device("cuda")) == expected


def test_a_device_map_in_every_process_of_a_launch_is_refused(folder, monkeypatch):
    for name, value in {"RANK": 1, "WORLD_SIZE": 4, "MASTER_ADDR": "here", "MASTER_PORT": 1}.items():
        monkeypatch.setenv(name, str(value))
    with pytest.raises(InputError, match=r"started 4 processes.*device_map='auto'.*leave out device_map"):
        load(folder, device_map="auto")
    assert load(folder, device="cpu").layout.n_layers == 3


def test_a_model_that_would_be_offloaded_is_refused(folder, monkeypatch):
    with pytest.raises(EnvironmentProblem, match=r"does not fit on the devices.*quantize='4bit'"):
        loading._check_placed("big", tiny_model().model.to("meta"))
