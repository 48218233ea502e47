"""The example plugin, really installed (into a folder of its own) and used through the command line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.forked_commands import Printed, forked
from tests.tiny_models import tiny_model

EXAMPLE = Path(__file__).parents[2] / "examples" / "culture-plugin"
CULTURES = ("Finland", "Mexico", "South Korea", "UK")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plugin")
    source = shutil.copytree(EXAMPLE, folder / "source")  # building writes beside the sources
    target = folder / "site"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    subprocess.run(
        [*pip, "--no-deps", "--no-build-isolation", "--no-index", "--target", str(target), str(source)],
        check=True,
        capture_output=True,
        text=True,
    )
    return target


def culnig(packages: Path, *arguments: str, expect: int = 0) -> Printed:
    done = forked(arguments, packages=packages).wait()
    assert done.code == expect, done.err
    return done


def document(packages: Path, *arguments: str) -> dict:
    return json.loads(culnig(packages, *arguments, "--json").out)


def test_the_package_contains_no_python_except_its_entry_points():
    (module,) = EXAMPLE.rglob("*.py")
    lines = [line for line in module.read_text(encoding="utf-8").splitlines() if line.strip()]
    assert len(lines) <= 20


def test_its_culture_and_benchmarks_are_listed(installed):
    path = os.pathsep.join([str(installed), str(Path(__file__).parents[2])])
    done = subprocess.run(
        [sys.executable, "-m", "culnig", "list", "cultures", "--region", "Northern Europe", "--json"],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    cultures = json.loads(done.stdout)["cultures"]
    assert {"Finland", "Sweden", "UK"} <= {row["culture"] for row in cultures}
    rows = {row["benchmark"]: row for row in document(installed, "list", "benchmarks")["benchmarks"]}
    assert rows["finland"]["control"] == "finland-control"
    assert rows["finland-control"]["role"] == "control"
    plugins = document(installed, "list", "plugins")["registered"]
    owned = [row for row in plugins if row["package"] == "culnig-finland"]
    assert [(row["name"], row["state"]) for row in owned] == [
        ("finland", "ok"),
        ("finland-control", "ok"),
        ("finland", "ok"),
    ]


def test_check_shows_prompts_and_counts(installed):
    found = document(installed, "list", "benchmarks", "--check", "finland")
    assert found["cultures"] == [{"culture": c, "identify": 12, "test": 12} for c in CULTURES]
    assert len(found["items"]) == 3 * 2  # of three cultures in both wordings
    assert (found["n"], found["n_questions"]) == (96, 12)  # two wordings of 48 rows
    assert found["questions_of_split"] == {"identify": 6, "test": 6}
    text = culnig(installed, "list", "benchmarks", "--check", "finland-control").out
    assert "finland-control (control): 96 items; independent questions: 6 to identify, 6 to test" in " ".join(
        text.split()
    )
    assert "Which" not in text.split("──")[1]


def test_country_rc_has_passages_about_the_new_culture(installed):
    found = document(installed, "list", "benchmarks", "--check", "country-rc-all")
    assert {"culture": "Finland", "identify": 100, "test": 100} in found["cultures"]
    old = document(installed, "list", "benchmarks", "--check", "country-rc")
    assert "Finland" not in {row["culture"] for row in old["cultures"]}


def test_every_question_is_asked_about_every_culture():
    text = (EXAMPLE / "culnig_finland/finland.jsonl").read_text(encoding="utf-8")
    rows = [json.loads(line) for line in text.splitlines()]
    assert Counter(row["culture"] for row in rows) == dict.fromkeys(CULTURES, 12)
    for row in rows:
        assert row["answer"] == row["options"][CULTURES.index(row["culture"])]
        assert len(set(row["options"])) == 4


def test_without_the_package_its_names_are_unknown(tmp_path):
    done = culnig(tmp_path, "list", "benchmarks", "--check", "finland", expect=2)
    assert "unknown benchmark 'finland'" in done.err
    path = EXAMPLE / "culnig_finland/finland.yaml"  # the country itself is in the lists of the program
    assert document(tmp_path, "list", "benchmarks", "--check", str(path))["n_questions"] == 12


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Any model does; a tiny one is read at once."""
    folder = tmp_path_factory.mktemp("tiny-llama")
    bound = tiny_model()
    bound.model.save_pretrained(folder)
    bound.tokenizer.save_pretrained(folder)
    return folder


def test_specific_neurons_are_selected_for_the_new_culture(installed, model, tmp_path):
    cultures = [part for culture in CULTURES for part in ("--culture", culture)]
    benchmarks = ["finland", "finland-control", "country-rc-all"]
    asked = [part for name in benchmarks for part in ("--benchmark", name)]
    run, neurons = tmp_path / "run", tmp_path / "finland.neurons.json"
    scored = document(
        installed, "score", "--model", str(model), *asked, *cultures, "--per-culture", "1", "-o", str(run)
    )
    assert {row["benchmark"]: row["n"] for row in scored["benchmarks"]} == dict.fromkeys(benchmarks, 4)
    culnig(
        installed,
        "select",
        "specific",
        str(run),
        "--culture",
        "Finland",
        *("--top", "0.3", "--z", "0"),
        "-o",
        str(neurons),
    )
    chosen = json.loads(neurons.read_text(encoding="utf-8"))
    assert chosen["method"]["culture"] == "Finland"
    assert len(chosen["neurons"]["index"]) > 0
    files = json.loads((run / "run.json").read_text(encoding="utf-8"))["benchmarks"]["finland"]["files"]
    assert set(files) == {"culnig_finland/finland.yaml", "culnig_finland/finland.jsonl"}
