"""Small files that claim to be large: a named error, and little memory. Each case runs in a forked child."""

from __future__ import annotations

import json
import re
import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from culnig.benchmarks.declaration_file import read_declaration
from culnig.benchmarks.rows import file_rows
from culnig.core.data_files import MOST_NODES, TooMuchYaml, check_yaml, read_toml
from culnig.errors import CulnigError, StoreError
from culnig.selection.neuron_set import read_neuron_set
from culnig.store.files import read_json
from culnig.store.run import Run
from culnig.store.verify import verify_run
from culnig.training.plan_file import read_plan
from culnig.training.weights import parse_ranges
from tests.forked import in_child
from tests.integration.test_damaged_files import KINDS
from tests.store.test_bad_input import PART, score
from tests.store.test_bad_input import read as read_parts
from tests.stored import document_of
from tests.toy import neuron_set, toy_layout, write_toy_run

ROOM = 500 << 20
"""Bytes of address space that a child may take beyond what it has."""


def in_little_memory(work: Callable[[], Any]) -> str:
    """The error of `work`, from a child process that has little memory and little time."""

    def limited() -> str:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + ROOM
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        try:
            work()
        except CulnigError as error:
            return str(error)
        return "no error"

    return str(in_child(limited, seconds=60))


def laughs(collection: str) -> str:
    """Nine levels of aliases, ten of each: a billion values in 600 bytes."""
    names = "abcdefghij"
    lines = [f"a: &a {collection.format('k: 1' if '{{' in collection else '1')}"]
    for outer, inner in zip(names[1:], names, strict=False):
        content = ",".join([f"*{inner}"] * 10)
        lines.append(
            f"{outer}: &{outer} " + ("{<<: [" + content + "]}" if "{{" in collection else f"[{content}]")
        )
    return "\n".join(lines)


TEXTS: dict[str, tuple[str, str, str]] = {
    "aliases": ("x.yaml", laughs("[{}]"), "more than 200,000 values, counting what aliases repeat"),
    "merge keys": ("x.yaml", laughs("{{{}}}"), "more than 200,000 values"),
    "an alias of itself": ("x.yaml", "a: &a [*a]", r"*a contains itself"),
    "deep yaml": ("x.yaml", "a: " + "[" * 300_000, "nested more than 64 levels deep"),
    "many values": ("x.yaml", "a: [" + "x," * 300_000 + "]", "more than 200,000 values"),
    "large yaml": ("x.yaml", "a: " + "x" * 5_000_000, "5.0 MB; at most 4.2 MB are read"),
    "a long number": ("x.yaml", "name: " + "9" * 100_000, "not valid YAML: Exceeds the limit"),
    "deep toml": ("x.toml", "a = " + "[" * 100_000, "nested too deeply"),
    "dots": ("x.toml", ".".join("a" * 50_000) + " = 1", "a key with more than 64 dots"),
    "a list as a key": ("x.yaml", "? [1, 2]\n: 3", "found unhashable key"),
}


@pytest.mark.parametrize("case", TEXTS)
def test_declarations(case: str, tmp_path: Path) -> None:
    name, text, message = TEXTS[case]
    (tmp_path / name).write_text(text)
    assert message in in_little_memory(lambda: read_declaration(tmp_path / name))


@pytest.mark.parametrize("text", ["a: " + "[" * 1_000_000, laughs("[{}]")])
def test_plans(text: str, tmp_path: Path) -> None:
    """The first one ends the process where PyYAML's C extension builds it."""
    (tmp_path / "plan.yaml").write_text(text)
    message = in_little_memory(lambda: read_plan(tmp_path / "plan.yaml"))
    assert "nested more than 64 levels" in message or "more than 20,000,000 values" in message


def test_aliases_that_repeat_little_are_read() -> None:
    check_yaml("a: &a [1, 2]\nb: *a\nc: {<<: &m {k: 1}, x: *a}\nd: *m")
    check_yaml("a: [" + "x," * (MOST_NODES - 5) + "]")
    with pytest.raises(TooMuchYaml):
        check_yaml("a: [" + "x," * MOST_NODES + "]")


@pytest.mark.parametrize(
    "text", ["[" * 1_000_000, '{"a": ' + "[" * 1_000_000, '{"a": ' + "9" * 100_000 + "}"]
)
def test_json(text: str, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(text)
    (tmp_path / "x.jsonl").write_text(text)
    assert "not a thing" in in_little_memory(lambda: read_json(tmp_path / "x.json", "a thing"))
    assert "line 1: not JSON" in in_little_memory(lambda: list(file_rows(tmp_path / "x.jsonl", ["a"])))


@pytest.mark.parametrize("text", ["0-9999999999", "0-10000000000,10000000002", "99999999999999999999"])
def test_ranges(text: str) -> None:
    with pytest.raises(ValueError, match="is beyond its axis"):
        parse_ranges(text)
    with pytest.raises(ValueError, match="is beyond its axis of 10"):
        parse_ranges("0-10", 10)
    assert parse_ranges("0-3,7", 8).tolist() == [0, 1, 2, 3, 7]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layer": [10**9]}, "no model has the neuron ('mlp.gate_proj', 1000000000, 0)"),
        ({"layer": [10**30]}, "no model has the neuron"),
        ({"layer": [-1]}, "no model has the neuron"),
        ({"index": [2**40]}, "no model has the neuron"),
        ({"sources": [["a"]]}, "'sources' holds [['a']]"),
        ({"sources": [{"scores_hash": ["a"]}]}, "'scores_hash' is ['a']"),
        ({"layout_hash": ["a"]}, "'layout_hash' is ['a']"),
    ],
)
def test_neuron_sets(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    neuron_set(toy_layout(), range(1)).write(path)
    document = document_of(path)
    document["neurons"]["module"] = ["mlp.gate_proj"]
    for name, value in changes.items():
        (document["neurons"] if name in ("layer", "index") else document)[name] = value
    path.write_text(json.dumps(document))
    assert message in in_little_memory(lambda: read_neuron_set(path).table())


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy_run(tmp_path_factory.mktemp("runs") / "run").folder


def claimed(file: h5py.File, name: str, n_rows: int) -> None:
    """Replace a dataset by one of many rows of which none is written."""
    kind, shape = file[name].dtype, (n_rows, *file[name].shape[1:])
    del file[name]
    file.create_dataset(name, shape, kind, chunks=(min(n_rows, 10_000), *shape[1:]))


CULTURE_COLUMNS = ("cultures", "n_items", "confidence_sum", "sum", "sum_of_squares", "positive_count")


@pytest.mark.parametrize(
    ("names", "read"),
    [
        (
            [f"benchmarks/toy-target/{name}" for name in CULTURE_COLUMNS],
            lambda run: run.moments("toy-target"),
        ),
        ([f"layout/{name}" for name in ("module", "layer", "start", "width")], lambda run: run.layout),
        (["benchmarks/toy-target/items/id"], lambda run: run.outcomes("toy-target")),
        (["benchmarks/toy-target/sum"], lambda run: run.moments("toy-target")),
    ],
    ids=["cultures", "layout", "items", "sums"],
)
@pytest.mark.parametrize("n_rows", [10**9, 10**15])
def test_runs_that_claim_rows(
    names: list[str], read: Any, n_rows: int, run_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run_folder, folder)
    with h5py.File(folder / "scores.h5", "r+") as file:
        for name in names:
            claimed(file, name, n_rows)
    assert (folder / "scores.h5").stat().st_size < 200_000
    message = in_little_memory(lambda: read(Run(folder)))
    assert "GB, but the file has 0." in message or "expected shape" in message


@pytest.mark.parametrize("n_rows", [10**9, 10**15])
@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("instances", ["items/culture", "items/topic", "raw", "control"]),
        ("instances", ["neurons/module", "neurons/layer", "neurons/index"]),
        ("instances", ["record"]),
        ("items of an evaluation", ["benchmarks/blend/0/items/id"]),
        ("items of an evaluation", ["benchmarks/blend/1/items/option_probabilities"]),
    ],
)
def test_other_files_that_claim_rows(kind: str, names: list[str], n_rows: int, tmp_path: Path) -> None:
    path = KINDS[kind].write(tmp_path / "folder")
    with h5py.File(path, "r+") as file:
        for name in names:
            claimed(file, name, n_rows)
    if (results := path.parent / "results.json").exists():
        results.write_text(json.dumps({**document_of(results), "hashes": None}))
    message = in_little_memory(lambda: KINDS[kind].read(path))
    assert "GB, but the file has 0." in message or "expected shape" in message


@pytest.mark.parametrize("n_rows", [10**9, 10**15])
@pytest.mark.parametrize(
    ("level", "names"),
    [
        ("item", ["item", "offsets"]),
        ("item", ["token_ids", "vocabulary", "vocabulary_ids"]),
        ("token", ["layers/0/mlp.gate_proj/activation", "layers/0/mlp.gate_proj/gradient"]),
        ("token", ["hashes"]),
        ("token", ["modules"]),
    ],
)
def test_parts_that_claim_rows(
    level: str, names: list[str], n_rows: int, parts: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(parts(level), tmp_path / "run"))
    with h5py.File(folder / PART[level], "r+") as file:
        for name in names:
            claimed(file, name, n_rows)
    for read in (lambda: read_parts(folder), lambda: verified(folder)):
        message = in_little_memory(read)
        assert re.search(r"GB, but the file has 0\.|expected (shape )?\(", message), message


def verified(folder: Path) -> None:
    for state in verify_run(folder):
        if state.problem is not None:
            raise StoreError(state.problem)


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A run of a level, with parts."""
    folder = tmp_path_factory.mktemp("parts")
    for level in PART:
        in_child(lambda level=level: score(folder / level, level) and None)
    return lambda level: folder / level


@pytest.mark.parametrize(
    ("name", "value"), [("layer", 2**31), ("layer", -1), ("width", 2**61), ("width", -4)]
)
def test_layouts_that_claim_layers_or_neurons(
    name: str, value: int, run_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run_folder, folder)
    with h5py.File(folder / "scores.h5", "r+") as file:
        file["layout"][name][-1] = np.int64(value)
    message = in_little_memory(lambda: Run(folder).plot("toy-target"))
    assert "names a layer, width or number of experts that no model has" in message or "claims" in message


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hashes": ["a"]}, "'hashes' is ['a'], expected an object"),
        ({"hashes": {"scores.h5": ["a"]}}, "the hash 'scores.h5' is ['a'], expected text"),
        ({"model": {"source": "x", "layout_hash": ["a"]}}, "the hash 'layout_hash' is ['a'], expected text"),
    ],
)
def test_hashes_that_are_lists(
    changes: dict[str, Any], message: str, run_folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(run_folder, tmp_path / "run")
    path = tmp_path / "run" / "run.json"
    path.write_text(json.dumps(document_of(path) | changes))
    assert message in in_little_memory(lambda: Run(tmp_path / "run").scores_hash)


def test_toml_of_an_old_editor_is_read(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_bytes(b'\xef\xbb\xbfa = "b"')
    assert read_toml(tmp_path / "x.toml") == {"a": "b"}
