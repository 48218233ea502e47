"""Every value of the JSON, YAML and TOML files that we read, replaced by values of another type or size."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

from culnig.benchmarks.declarative import declared_benchmark
from culnig.errors import CulnigError
from culnig.reanalysis.score_files import read_score_file
from culnig.reporting.inspect import inspect
from culnig.reporting.page import Report
from culnig.reporting.sources import read_sources
from culnig.selection.neuron_set import read_neuron_set
from tests.reanalysis import released
from tests.toy import neuron_set, toy_layout, write_toy_run

WRONG: list[Any] = [
    None,
    True,
    -1,
    10**30,
    1.5,
    float("inf"),
    "",
    "x" * 5000,
    "\0",
    "\ud800",
    [],
    [[1]],
    {},
    {"a": []},
]
"""Of every JSON type, and at the ends of each."""


def changed(document: Any) -> Iterator[tuple[str, Any]]:
    """Each value in turn replaced by every wrong one, or left out; two values of each list."""

    def paths(value: Any, path: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
        yield path
        n_values = len(value) if isinstance(value, list) else 0
        keys = value if isinstance(value, dict) else range(n_values)
        for key in list(keys)[: None if isinstance(value, dict) else 2]:
            yield from paths(value[key], (*path, key))

    for path in list(paths(document, ()))[1:]:
        for wrong in (*WRONG, "delete"):
            new = copy.deepcopy(document)
            inner = new
            for key in path[:-1]:
                inner = inner[key]
            if wrong == "delete":
                del inner[path[-1]]
            else:
                inner[path[-1]] = wrong
            yield f"{'/'.join(map(str, path))} = {wrong!r}"[:80], new


def crashes(document: Any, write: Callable[[Any], object], read: Callable[[], object]) -> list[str]:
    """Changes after which reading raises anything but our own errors."""
    problems, n_changes = [], 0
    for change, new in changed(document):
        write(new)
        n_changes += 1
        try:
            read()
        except CulnigError as error:
            str(error), error.for_command_line()
        except Exception as error:  # what the test is about
            problems.append(f"{change}: {type(error).__name__} {error}"[:200])
    assert n_changes >= 75
    return problems


def test_neuron_sets(tmp_path: Path) -> None:
    path = tmp_path / "x.neurons.json"
    neuron_set(toy_layout(), range(3)).write(path)

    def read() -> None:
        chosen = read_neuron_set(path)
        chosen.table(), repr(chosen), chosen._repr_html_()
        inspect(path)
        Report(read_sources([path])).html()

    assert crashes(json.loads(path.read_text()), lambda new: path.write_text(json.dumps(new)), read) == []


def test_records_of_runs(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    write_toy_run(folder)
    path = folder / "run.json"

    def read() -> None:
        inspect(folder)
        Report(read_sources([folder])).html()

    assert crashes(json.loads(path.read_text()), lambda new: path.write_text(json.dumps(new)), read) == []


def test_score_files(tmp_path: Path) -> None:
    path = tmp_path / "scores.json"
    content = {
        "neuron_scores": released.scores(0, 1, {"mlp.gate_proj": 2}, ("Spain", "Iran")),
        "total_probabilities_per_country": {"Spain": 1.0, "Iran": 1.0},
        "dataset_ids": {"blend": ["1"]},
    }

    def read() -> None:
        read_score_file(path).moments()

    assert crashes(content, lambda new: path.write_text(json.dumps(new)), read) == []


def test_declarations(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    (tmp_path / "x.jsonl").write_text('{"q": "Why?", "o": ["yes", "no"], "a": "A"}\n')
    content = {
        "name": "toy",
        "data": "x.jsonl",
        "columns": {"question": "q", "options": "o", "answer": "a"},
        "wordings": [{"id": "1", "template": "{question}\n{options}"}],
        "identify_topics": [],
        "seed": 1,
    }

    def write(new: Any) -> None:
        path.write_text(yaml.safe_dump(new), encoding="utf-8", errors="surrogatepass")

    assert crashes(content, write, lambda: list(declared_benchmark(path).read(None))) == []


def test_rows(tmp_path: Path) -> None:
    """Values of the data of a declared benchmark."""
    path = tmp_path / "x.jsonl"
    (tmp_path / "x.yaml").write_text(
        "{name: toy, data: x.jsonl, columns: {question: q, options: o, answer: a, id: i, culture: c},"
        " wordings: [{id: '1', template: '{question} {options}'}]}"
    )
    row = {"q": "Why?", "o": ["yes", "no"], "a": "A", "i": "1", "c": "Spain"}
    benchmark = declared_benchmark(tmp_path / "x.yaml")
    assert len(list_of(benchmark, path, row)) == 1
    assert (
        crashes(row, lambda new: path.write_text(json.dumps(new)), lambda: list(benchmark.read(None))) == []
    )


def list_of(benchmark: Any, path: Path, row: dict[str, Any]) -> list[Any]:
    path.write_text(json.dumps(row))
    return list(benchmark.read(None))
