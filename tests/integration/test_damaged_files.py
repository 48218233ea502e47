"""400 damaged copies of every file that culnig writes and reads: an error of ours, or the right contents.

Runs have their own tests (`tests/store/test_fuzz.py`), with which this shares damage and comparison.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import pytest

from culnig.core.neurons import Neuron
from culnig.errors import StoreError
from culnig.evaluation.conditions import Condition
from culnig.evaluation.folder import write_evaluation
from culnig.evaluation.instances.file import read_instances, write_instances
from culnig.evaluation.instances.scores import InstanceScores
from culnig.evaluation.parts import EvaluationParts
from culnig.evaluation.stored import open_evaluation
from culnig.selection.neuron_set import NeuronSet, read_neuron_set
from culnig.store.files import write_json
from culnig.store.hdf5 import open_hdf5
from culnig.store.heap import recorded_heaps
from culnig.store.run import Run
from culnig.training.arms_table import read_arms
from culnig.training.checkpoints import checkpoint_problem, write_mark
from culnig.training.folder import TrainingFolder, read_training
from culnig.training.plan_file import read_plan
from culnig.validation.stored import read_results
from tests.forked import in_child
from tests.store.test_fuzz import bits, probe, read_scores
from tests.stored import document_of
from tests.tiny_models import tiny_model
from tests.toy import answered, items, toy_layout, write_toy_run
from tests.training.runs import plan_of

N_PROBES = 400
ASKED = items(["China", "Spain"], questions=3, split="test")
CONDITIONS = [
    Condition("unmasked", 1.0, np.empty(0, dtype=np.int64)),
    Condition("general", 0.0, np.array([3, 5])),
]
RECORD: dict[str, Any] = {"model": {"source": "toy"}, "settings": {}, "benchmarks": {"blend": {}}}


class Kind(NamedTuple):
    """A file that culnig writes."""

    write: Callable[[Path], Path]
    """Writes it into a folder; its path."""
    read: Callable[[Path], Any]
    """Reads it by that path."""


def neuron_set() -> NeuronSet:
    neurons = tuple(Neuron("mlp.gate_proj", 0, index) for index in range(5))
    columns = {"stability": np.arange(5) / 7}
    method = {"name": "general", "top_mlp": 0.01}
    return NeuronSet("general", "toy", "f" * 64, method, [{"run": "r"}], neurons, np.arange(5) / 3, columns)


def written_set(folder: Path) -> Path:
    neuron_set().write(folder / "general.neurons.json")
    return folder / "general.neurons.json"


def evaluation(folder: Path) -> Path:
    answers = {("blend", c.name): answered(ASKED, [True] * len(ASKED), 1 / 3) for c in CONDITIONS}
    rows = [
        {"benchmark": "blend", "condition": c.name, "p_gold": 1 / 3, "change": {"accuracy": {"effect": 0.1}}}
        for c in CONDITIONS
    ]
    write_evaluation(folder, RECORD, rows, answers, CONDITIONS)
    return folder


def evaluation_without_hashes(folder: Path) -> None:
    evaluation(folder)
    results = document_of(folder / "results.json")
    del results["hashes"]
    (folder / "results.json").write_text(json.dumps(results))


def read_evaluation(folder: Path) -> Any:
    stored = open_evaluation(folder)
    return [stored.results, [(key, bits(outcomes)) for key, outcomes in stored.answers.items()]]


def begun(folder: Path) -> EvaluationParts:
    return EvaluationParts.open(folder, RECORD, ["blend"], CONDITIONS, resume=True)


def evaluation_part(folder: Path) -> Path:
    with begun(folder) as parts:
        parts.save("blend", "unmasked", answered(ASKED, [True] * len(ASKED), 1 / 3))
    return folder / "parts" / "000-0000.h5"


def read_part(path: Path) -> Any:
    with begun(path.parent.parent) as parts:
        return bits(parts.read("blend", "unmasked"))


def instances(folder: Path) -> Path:
    layout = toy_layout()
    draw = np.random.default_rng(0)
    raw, control = draw.random((len(ASKED), 7)), draw.random((len(ASKED), 7))
    scores = InstanceScores(tuple(ASKED), np.arange(7), raw, control)
    write_instances(folder / "instances.h5", scores, layout, {"model": {"source": "toy"}})
    return folder / "instances.h5"


def training(folder: Path) -> Path:
    own = TrainingFolder(folder)
    with own:
        own.open({"model": {"source": "toy"}, "settings": {"seed": 1}}, resume=False)
        own.save_model(lambda path: (path / "model.safetensors").write_bytes(b"weights") and None)
        own.finish({"log": [{"loss": 1 / 3}], "steps": 3})
    return folder / "training.json"


def checkpoint(folder: Path) -> Path:
    (folder / "trained.safetensors").write_bytes(b"weights" * 100)
    (folder / "optimizer.pt").write_bytes(b"moments" * 100)
    write_mark(folder, "a" * 64)
    return folder / "complete"


def document(name: str, format_name: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        rows = [{"arm": "top", "change": {"effect": 1 / 3, "interval": [0.1, 0.2], "p_value": 0.04}}]
        write_json(folder / name, {"format": format_name, "format_version": 1, "arms": [], "changes": rows})
        return folder / name

    return write


def plan(folder: Path) -> Path:
    plan_of(tiny_model()).write(folder / "plan.yaml")
    return folder / "plan.yaml"


def inner(write: Callable[[Path], Any], name: str) -> Callable[[Path], Path]:
    return lambda folder: (write(folder), folder / name)[1]


KINDS: dict[str, Kind] = {
    "neuron set": Kind(written_set, lambda path: read_neuron_set(path)._document()),
    "results of an evaluation": Kind(
        inner(evaluation, "results.json"), lambda path: read_evaluation(path.parent)
    ),
    "items of an evaluation": Kind(inner(evaluation, "items.h5"), lambda path: read_evaluation(path.parent)),
    "part of an evaluation": Kind(evaluation_part, read_part),
    "instances": Kind(instances, lambda path: bits(read_instances(path))),
    "training": Kind(training, lambda path: read_training(path.parent)),
    "arms": Kind(document("arms.json", "culnig-arms"), lambda path: read_arms(path.parent)),
    "validation": Kind(document("results.json", "culnig-validation"), lambda p: read_results(p.parent)),
    "plan": Kind(plan, lambda path: read_plan(path).text()),
    "record of a run": Kind(
        inner(lambda folder: write_toy_run(folder), "run.json"),
        lambda path: [Run(path.parent).record, read_scores(path.parent)],
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_a_damaged_file_gives_our_error_or_the_right_contents(tmp_path, name):
    kind = KINDS[name]
    folder = tmp_path / name.replace(" ", "-")  # names the damage, which is the same every time
    folder.mkdir()
    path = kind.write(folder)
    right, intact = kind.read(path), path.read_bytes()
    for first in range(0, N_PROBES, 100):
        numbers = range(first, first + 100)
        wrong = in_child(lambda own=numbers: probe(path, intact, lambda: kind.read(path), right, own))
        assert wrong == []


HEAPS: dict[str, Kind] = {
    "run": Kind(inner(write_toy_run, "scores.h5"), lambda path: read_scores(path.parent)),
    "part": KINDS["part of an evaluation"],
    "old evaluation": Kind(
        inner(evaluation_without_hashes, "items.h5"), lambda path: read_evaluation(path.parent)
    ),
}
"""Files with text attributes, which HDF5 keeps in a heap without a checksum of its own."""


@pytest.mark.parametrize("name", HEAPS)
def test_every_damaged_byte_of_the_heap_is_an_error(tmp_path, name):
    """HDF5 by itself read other texts, or never came to an end."""
    kind = HEAPS[name]
    path = kind.write(tmp_path / "folder")
    kind.read(path)
    intact = path.read_bytes()
    with h5py.File(path) as file:
        heaps = recorded_heaps(file)
    assert [offset for offset, *_ in heaps] == [found.start() for found in re.finditer(b"GCOL", intact)]
    used = [(begin, begin + len(intact[begin : begin + size].rstrip(b"\0")) + 16) for begin, size, _ in heaps]

    def probe_all() -> list[int]:
        unnoticed = []
        for index in [index for begin, end in used for index in range(begin, end)]:
            damaged = bytes([intact[index] ^ (1 << index % 8)])
            path.write_bytes(intact[:index] + damaged + intact[index + 1 :])
            with contextlib.suppress(StoreError), open_hdf5(path):
                unnoticed.append(index)
        return unnoticed

    assert in_child(probe_all) == []
    path.write_bytes(intact)


def test_a_heap_without_end_is_an_error_in_files_of_earlier_versions(tmp_path):
    """One flipped bit in the size of the first text, for example."""
    path = HEAPS["run"].write(tmp_path / "folder")
    with h5py.File(path, "r+") as file:
        del file.attrs["heaps"]
    right, intact = HEAPS["run"].read(path), path.read_bytes()
    (begin,) = (found.start() for found in re.finditer(b"GCOL", intact))

    def read_all() -> set[str]:
        found = set()
        for index in range(begin, begin + 80):
            path.write_bytes(intact[:index] + bytes([intact[index] ^ 1]) + intact[index + 1 :])
            try:
                found.add("right" if HEAPS["run"].read(path) == right else f"wrong at {index - begin}")
            except StoreError:
                found.add("refused")
        return found

    assert in_child(read_all) == {"right", "refused"}


def test_a_damaged_checkpoint_is_noticed_whichever_file_it_is(tmp_path):
    mark = checkpoint(tmp_path)
    assert checkpoint_problem(tmp_path, "a" * 64) is None
    for name in ("trained.safetensors", "optimizer.pt"):
        path = tmp_path / name
        intact = path.read_bytes()
        for place in range(0, len(intact), 7):
            path.write_bytes(intact[:place] + bytes([intact[place] ^ 1]) + intact[place + 1 :])
            assert checkpoint_problem(tmp_path, "a" * 64) == f"{name} changed after it was written"
        path.write_bytes(intact[:-1])
        assert checkpoint_problem(tmp_path, "a" * 64) == f"{name} changed after it was written"
        path.unlink()
        assert checkpoint_problem(tmp_path, "a" * 64) == f"{name} is gone after it was written"
        path.write_bytes(intact)
    mark.write_bytes(mark.read_bytes()[:50])
    assert "not the mark of a checkpoint" in checkpoint_problem(tmp_path, "a" * 64)
    checkpoint(tmp_path)
    with pytest.raises(StoreError, match="belongs to another training"):
        checkpoint_problem(tmp_path, "b" * 64)


def test_an_edited_file_is_read_once_its_checksum_is_removed(tmp_path):
    path = written_set(tmp_path)
    document = json.loads(path.read_text())
    document["neurons"]["score"][0] = 17.0
    path.write_text(json.dumps(document))
    with pytest.raises(StoreError, match="if you edited it yourself, remove its 'checksum'"):
        read_neuron_set(path)
    del document["checksum"]
    path.write_text(json.dumps(document))
    assert read_neuron_set(path).scores[0] == 17.0


def test_items_of_another_evaluation_are_refused(tmp_path):
    (tmp_path / "other").mkdir()
    evaluation(tmp_path / "own")
    evaluation(tmp_path / "other")
    with h5py.File(tmp_path / "other" / "items.h5", "r+") as file:
        file["benchmarks/blend/0/items/confidence"][...] = 0.5
    shutil.copy(tmp_path / "other" / "items.h5", tmp_path / "own" / "items.h5")
    with pytest.raises(StoreError, match=r"is not the file that results\.json was made from"):
        open_evaluation(tmp_path / "own")
