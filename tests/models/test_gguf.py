"""A GGUF file is parsed once, to the same configuration, tokenizer and weights as transformers' own way."""

from __future__ import annotations

import gguf
import numpy as np
import pytest

from culnig import registry
from culnig.errors import ModelLoadError
from culnig.models import gguf as our_gguf
from culnig.models.loading import LoadSettings, load_model
from tests.plain_gguf import assert_equal_to_plain
from tests.tiny_gguf import write_gguf


@pytest.fixture(autouse=True)
def _without_cache(monkeypatch):
    monkeypatch.setenv("CULNIG_CACHE", "off")


@pytest.fixture
def file(tmp_path):
    return write_gguf(tmp_path / "tiny.gguf")


def load(path, **settings):
    return load_model(str(path), registry.adapters(), LoadSettings(device="cpu", **settings))


def test_a_tiny_file_gives_what_transformers_reads(file):
    """As does the embedded file: tests/models/test_cache.py."""
    assert_equal_to_plain(file, load(file))


def test_the_reader_gives_every_value_that_the_package_reads(file):
    from transformers.integrations.ggml import _gguf_parse_value

    def values(reader):
        return {
            name: [_gguf_parse_value(field.parts[index], field.types) for index in field.data]
            for name, field in reader.fields.items()
        }

    plain = gguf.GGUFReader(file)
    with our_gguf.parsed_once():
        ours = gguf.GGUFReader(file)
    assert type(ours) is not type(plain)
    assert values(ours) == values(plain)
    assert [tensor.name for tensor in ours.tensors] == [tensor.name for tensor in plain.tensors]
    for own, tensor in zip(ours.tensors, plain.tensors, strict=True):
        np.testing.assert_array_equal(own.data, tensor.data)


def test_a_file_is_parsed_once_and_again_when_it_changes(file):
    our_gguf._kept_reader.cache_clear()
    first = load(file)
    assert our_gguf._kept_reader.cache_info().misses == 1
    assert our_gguf._kept_reader.cache_info().hits >= 2
    write_gguf(file, seed=1)
    assert load(file).weights_hash != first.weights_hash
    assert our_gguf._kept_reader.cache_info().misses == 2


def test_the_package_is_as_it_was_afterwards_also_after_an_error(file):
    before = gguf.GGUFReader, gguf.get_tensor_name_map
    load(file)
    assert (gguf.GGUFReader, gguf.get_tensor_name_map) == before
    file.write_bytes(file.read_bytes()[:300])
    with pytest.raises(ModelLoadError):
        load(file)
    assert (gguf.GGUFReader, gguf.get_tensor_name_map) == before


def test_factors_of_one_change_nothing_and_are_not_missed(tmp_path):
    plain = load(write_gguf(tmp_path / "plain.gguf"))
    same = load(write_gguf(tmp_path / "same.gguf", add=("rope_freqs.weight",), factor=1))
    assert same.weights_hash == plain.weights_hash


def test_a_string_longer_than_the_file_is_an_error():
    data = np.frombuffer(np.array([1000, 0], dtype=np.uint64).tobytes(), dtype=np.uint8)
    with pytest.raises(ValueError, match="string of 1000 bytes at offset 8"):
        our_gguf._strings(data, 0, 1)
