"""The example family, installed with pip into an environment of its own, beside a plugin that is broken."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, MambaConfig

from tests.forked_commands import Printed, forked
from tests.tiny_models import byte_tokenizer

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "model-plugin"


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a new environment that sees this one's packages and has the plugin installed."""
    folder = tmp_path_factory.mktemp("plugin")
    source = shutil.copytree(EXAMPLE, folder / "source")  # building writes beside the sources
    venv.create(folder / "venv", with_pip=False, symlinks=True)
    interpreter = folder / "venv" / "bin" / "python"
    (site,) = (folder / "venv" / "lib").glob("python*/site-packages")
    (site / "tested.pth").write_text(f"{ROOT}\n{sysconfig.get_path('purelib')}\n")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(interpreter)]
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "install", *options, str(source)], check=True, capture_output=True, text=True)
    broken = site / "culnig_broken-0.1.dist-info"
    broken.mkdir()
    (broken / "METADATA").write_text("Metadata-Version: 2.1\nName: culnig-broken\nVersion: 0.1\n")
    (broken / "entry_points.txt").write_text("[culnig.models]\nbroken = culnig_broken:Adapter\n")
    (site / "culnig_broken.py").write_text("raise RuntimeError('half written')\n")
    return interpreter


@pytest.fixture(scope="module")
def packages(python: Path) -> Path:
    """Where the environment has its own packages."""
    (folder,) = (python.parents[1] / "lib").glob("python*/site-packages")
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mamba")
    torch.manual_seed(0)
    config = MambaConfig(
        vocab_size=260,
        hidden_size=24,
        intermediate_size=48,
        expand=2,
        state_size=4,
        num_hidden_layers=2,
        initializer_range=0.3,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=1,
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return folder


def culnig(packages: Path | None, *arguments: object, expect: int = 0) -> Printed:
    done = forked(arguments, packages=packages).wait()
    assert done.code == expect, done.err
    return done


def test_it_is_listed_and_the_broken_one_is_reported(python, packages):
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    asked = [python, "-m", "culnig", "list", "models", "--json"]
    done = subprocess.run(asked, env=environment, capture_output=True, text=True, check=True)
    document = json.loads(done.stdout)
    assert [row["adapter"] for row in document["adapters"]] == ["gated-decoder", "mamba", "plain-decoder"]
    (problem,) = document["problems"]
    assert "'broken' of culnig.models, from package culnig-broken" in problem
    assert "RuntimeError: half written" in problem
    rows = json.loads(culnig(packages, "list", "plugins", "--json").out)["registered"]
    states = {row["name"]: row["state"] for row in rows if row["group"] == "culnig.models"}
    assert states["mamba"] == "ok"
    assert states["broken"] == "cannot be loaded"


def test_its_family_is_scored_despite_a_broken_plugin(packages, model, tmp_path):
    asked = ["--benchmark", "everyday", "--limit", "2", "-o", tmp_path / "run"]
    document = json.loads(culnig(packages, "score", "--model", model, *asked, "--json").out)
    assert document["model"]["adapter"] == "mamba"
    assert document["model"]["n_neurons"] == 2 * (48 + 48)
    assert document["benchmarks"][0]["n"] == 2


def test_its_family_passes_verification(packages, model):
    document = json.loads(culnig(packages, "verify", "--model", model, "--json").out)
    passed = {row["check"]: row["passed"] for row in document["checks"]}
    assert passed.pop("query, key and value") is None
    assert passed.pop("gate and up projection") is None
    assert all(passed.values())


def test_without_it_the_family_is_refused_with_the_guide(model, tmp_path):
    asked = ("score", "--model", model, "--benchmark", "everyday", "-o", tmp_path / "run")
    done = culnig(None, *asked, expect=2)
    assert "fits no adapter" in done.err
    assert "docs/models.md" in done.err
