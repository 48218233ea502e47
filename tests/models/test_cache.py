"""The cache of GGUF files: the same model with and without it, damage, limits, and what is never cached."""

from __future__ import annotations

import json
import os
import shutil

import h5py
import pytest
import torch
from click.testing import CliRunner

import culnig
from culnig import registry
from culnig.cli.main import cli
from culnig.errors import EnvironmentProblem
from culnig.models import cache, loading
from culnig.models.cache import CacheWarning
from culnig.models.embedded import embedded_model_file
from culnig.models.loading import LoadSettings, load_model, load_skeleton, load_tokenizer
from culnig.provenance import describe_model
from tests.plain_gguf import TEXTS, assert_equal_to_plain
from tests.tiny_gguf import write_gguf


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A cache of the test's own."""
    monkeypatch.setenv("CULNIG_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "gguf"


@pytest.fixture
def file(tmp_path):
    return write_gguf(tmp_path / "tiny.gguf")


def load(path, **settings):
    return load_model(str(path), registry.adapters(), LoadSettings(device="cpu", **settings))


def entries():
    return culnig.list_cache()["entries"]


def reads_gguf(monkeypatch):
    """Times that weights are read from a GGUF file from now on."""
    reads = []
    kept = loading.keep
    monkeypatch.setattr(loading, "keep", lambda *args: (reads.append(args[0]), kept(*args)))
    return reads


def assert_equal(one, other):
    """Everything that a run computes with or records is the same, to the bit."""
    assert describe_model(one) == describe_model(other)
    ours, theirs = one.model.state_dict(), other.model.state_dict()
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        assert ours[name].dtype == tensor.dtype, name
        assert torch.equal(ours[name], tensor), name
    assert one.model.config.to_dict() == other.model.config.to_dict()
    assert one.model.generation_config.to_dict() == other.model.generation_config.to_dict()
    assert one.tokenizer.backend_tokenizer.to_str() == other.tokenizer.backend_tokenizer.to_str()
    assert one.tokenizer.special_tokens_map == other.tokenizer.special_tokens_map
    assert one.tokenizer.chat_template == other.tokenizer.chat_template
    assert one.tokenizer.name_or_path == other.tokenizer.name_or_path
    for text in TEXTS:
        assert one.tokenizer(text).input_ids == other.tokenizer(text).input_ids


def stored(run):
    """Every dataset of a run's scores."""
    datasets = {}

    def note(name, entry):
        if isinstance(entry, h5py.Dataset):
            datasets[name] = repr(entry[()].tolist())

    with h5py.File(run / "scores.h5") as file:
        file.visititems(note)
    assert datasets
    return datasets


def compare_with_and_without(path, monkeypatch, **settings):
    first = load(path, **settings)
    reads = reads_gguf(monkeypatch)
    cached = load(path, **settings)
    assert reads == []
    with monkeypatch.context() as patch:
        patch.setenv("CULNIG_CACHE", "off")
        plain = load(path, **settings)
    assert_equal(first, plain)
    assert_equal(cached, plain)
    return plain


@pytest.mark.parametrize("dtype", ["auto", "bfloat16"])
def test_a_model_is_the_same_with_and_without_the_cache(file, monkeypatch, dtype):
    compare_with_and_without(file, monkeypatch, dtype=dtype)


@pytest.mark.slow
def test_the_embedded_model_is_the_same_with_and_without_the_cache_and_in_transformers(monkeypatch):
    plain = compare_with_and_without(embedded_model_file(), monkeypatch)
    assert_equal_to_plain(embedded_model_file(), plain)


def test_skeleton_and_tokenizer_come_from_the_cache_too(file, monkeypatch):
    plain = load_skeleton(str(file), registry.adapters())
    load(file)
    monkeypatch.setattr("culnig.models.source.parsed_once", None)
    assert load_skeleton(str(file), registry.adapters()).bound.layout == plain.bound.layout
    assert len(load_tokenizer(str(file))) > 64


def test_cached_weights_lie_in_memory_as_torch_puts_its_own(file):
    load(file)
    assert {p.data_ptr() % 64 for p in load(file).model.parameters()} == {0}


def test_each_dtype_and_each_content_has_its_entry(file):
    load(file)
    load(file, dtype="bfloat16")
    assert sorted(entry["dtype"] for entry in entries()) == ["auto", "bfloat16"]
    before = load(file).weights_hash
    write_gguf(file, seed=1)
    assert load(file).weights_hash != before
    assert len(entries()) == 3


def test_a_copy_of_the_file_finds_the_entry(file, tmp_path, monkeypatch):
    load(file)
    reads = reads_gguf(monkeypatch)
    (tmp_path / "elsewhere").mkdir()
    load(shutil.copy(file, tmp_path / "elsewhere" / "copy.gguf"))
    assert reads == []


def test_a_file_changed_within_its_times_is_noticed(file):
    """Same size and modification time, as a tool that restores times leaves them."""
    before, status = load(file).weights_hash, file.stat()
    write_gguf(file, seed=1)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert file.stat().st_size == status.st_size
    cache_hash = cache._hash_of(cache._root(), file)
    assert cache_hash not in before
    assert cache_hash == cache.file_hash(file)


def test_a_tokenizer_file_beside_the_gguf_file_makes_another_entry(file):
    load(file)
    (file.parent / "tokenizer_config.json").write_text('{"chat_template": "{{ messages[0].content }}"}')
    load(file)
    assert len(entries()) == 2


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json", "entry.json"])
def test_a_damaged_entry_is_made_again_with_a_warning(file, folder, name):
    expected = load(file)
    (damaged,) = folder.glob(f"[!.]*/{name}")
    data = bytearray(damaged.read_bytes())
    data[-9] ^= 1
    damaged.write_bytes(data if name != "entry.json" else data[:20])
    with pytest.warns(CacheWarning, match=rf"made again: {name} is damaged"):
        again = load(file)
    assert_equal(again, expected)
    assert len(entries()) == 1
    assert_equal(load(file), expected)


def test_an_added_or_missing_file_is_damage(file, folder):
    load(file)
    (entry,) = folder.glob("[!.]*/entry.json")
    (entry.parent / "added_tokens.json").write_text("{}")
    with pytest.warns(CacheWarning, match=r"added_tokens\.json was removed or added"):
        load(file)


def test_weights_that_are_not_the_files_are_read_again(file, folder):
    """A record that was changed together with its checksums: the weights themselves are compared."""
    expected = load(file)
    (entry,) = folder.glob("[!.]*/entry.json")
    record = json.loads(entry.read_text())
    entry.write_text(json.dumps(record | {"weights_hash": "0" * 64}))
    with pytest.warns(CacheWarning, match="weights are not those of the GGUF file"):
        assert_equal(load(file), expected)


def test_an_entry_that_vanishes_while_it_is_read_is_replaced_by_the_file(file, monkeypatch):
    expected = load(file)
    located = loading.locate

    def vanishing(*args, **kwargs):
        files = located(*args, **kwargs)
        if kwargs.get("weights"):
            shutil.rmtree(files.cached)
        return files

    monkeypatch.setattr(loading, "locate", vanishing)
    with pytest.warns(CacheWarning, match="is not used and made again: cannot load model"):
        assert_equal(load(file), expected)


def test_damage_that_cannot_be_removed_costs_a_warning_and_no_run(file, folder, monkeypatch):
    expected = load(file)
    (entry,) = folder.glob("[!.]*/entry.json")
    entry.write_text(json.dumps(json.loads(entry.read_text()) | {"weights_hash": "0" * 64}))

    def refused(folder):
        raise PermissionError("read-only")

    monkeypatch.setattr(cache, "_remove", refused)
    with pytest.warns(CacheWarning, match="weights are not those"):
        assert_equal(load(file), expected)


def test_a_file_that_changes_while_it_is_read_is_not_kept(file, monkeypatch):
    kept = loading.keep

    def late(*args):
        write_gguf(file, seed=1)
        kept(*args)

    monkeypatch.setattr(loading, "keep", late)
    load(file)
    assert entries() == []


def test_off_reads_and_writes_nothing(file, folder, monkeypatch):
    monkeypatch.setenv("CULNIG_CACHE", "off")
    load(file)
    assert not folder.exists()
    assert culnig.list_cache() == {"folder": None, "limit": 20_000_000_000, "entries": []}
    assert culnig.clear_cache() == {"entries": 0, "n_bytes": 0}


def test_the_oldest_entries_make_way(file, monkeypatch):
    load(file)
    load(file, dtype="bfloat16")
    sizes = {entry["dtype"]: entry["n_bytes"] for entry in entries()}
    for entry in entries():  # the first was used last
        when = 2e9 if entry["dtype"] == "auto" else 1e9
        os.utime(f"{entry['folder']}/entry.json", (when, when))
    monkeypatch.setenv("CULNIG_CACHE_LIMIT", str(sizes["auto"] + sizes["bfloat16"]))
    load(file, dtype="float16")
    assert sorted(entry["dtype"] for entry in entries()) == ["auto", "float16"]


def test_a_model_beyond_the_limit_is_not_kept(file, monkeypatch):
    monkeypatch.setenv("CULNIG_CACHE_LIMIT", "10K")
    load(file)
    assert entries() == []


def test_a_limit_that_is_no_size_is_said(file, monkeypatch):
    monkeypatch.setenv("CULNIG_CACHE_LIMIT", "much")
    with pytest.raises(EnvironmentProblem, match="CULNIG_CACHE_LIMIT: 'much' is not a size"):
        load(file)


def test_a_cache_that_cannot_be_written_costs_a_warning_and_no_run(file, monkeypatch, tmp_path):
    (tmp_path / "in the way").write_text("a file")
    monkeypatch.setenv("CULNIG_CACHE", str(tmp_path / "in the way"))
    with pytest.warns(CacheWarning, match=r"tiny\.gguf is not kept in the cache"):
        assert load(file).layout.n_layers == 2


def test_nothing_is_left_of_a_write_that_fails(file, folder, monkeypatch):
    def broken(*args):
        raise RuntimeError("disk full")

    monkeypatch.setattr("culnig.models.cache_entry._check_readable", broken)
    with pytest.warns(CacheWarning, match="disk full"):
        load(file)
    assert [path.name for path in folder.iterdir() if path.is_dir()] == ["hashes"]


def test_while_another_process_writes_nothing_is_kept(file, folder):
    folder.mkdir(parents=True)
    with cache._locked(folder, wait=True):
        load(file)
    assert entries() == []


def test_learned_weights_are_kept_by_what_made_them(file, folder):
    bound, other = load(file), load(file)
    where = cache.learned_folder({"seed": 1})
    assert where.parent == folder
    assert where != cache.learned_folder({"seed": 2})
    assert not cache.read_learned(where, other.model)
    with torch.no_grad():
        bound.model.get_input_embeddings().weight.add_(1)
    cache.keep_learned(where, "facts", bound.model, bound.tokenizer)
    assert cache.read_learned(where, other.model)
    for name, parameter in other.model.named_parameters():
        assert torch.equal(parameter, bound.model.get_parameter(name)), name
    assert "facts" in [entry["source"] for entry in culnig.list_cache()["entries"]]
    weights = where / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    with pytest.warns(CacheWarning, match=r"model\.safetensors is damaged"):
        assert not cache.read_learned(where, other.model)
    assert not where.exists()


def test_leftovers_of_killed_processes_are_removed(file, folder):
    (folder / ".new-killed").mkdir(parents=True)
    load(file)
    assert not (folder / ".new-killed").exists()


def test_the_commands_list_and_clear(file):
    load(file)
    run = CliRunner().invoke
    listed = json.loads(run(cli, ["cache", "list", "--json"]).output)
    assert listed["entries"][0]["source"] == str(file)
    assert "tiny.gguf" in run(cli, ["cache", "list"]).output
    assert "1 cached models removed" in run(cli, ["cache", "clear"]).output
    assert json.loads(run(cli, ["cache", "clear", "--json"]).output) == {"entries": 0, "n_bytes": 0}
    assert entries() == []


def test_a_run_records_the_same_model_with_and_without_the_cache(file, tmp_path, monkeypatch):
    few = {"cultures": ("Spain", "China"), "per_culture": 1, "device": "cpu"}
    load(file)
    with_cache = culnig.score(str(file), "everyday", tmp_path / "with", **few)
    monkeypatch.setenv("CULNIG_CACHE", "off")
    without = culnig.score(str(file), "everyday", tmp_path / "without", **few)
    assert with_cache.record["model"] == without.record["model"]
    assert stored(tmp_path / "with") == stored(tmp_path / "without")
