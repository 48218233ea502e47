"""A tiny model in a folder, and a way to run commands."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from culnig.cli.main import run
from tests.tiny_models import tiny_model


@dataclass
class Result:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def culnig(capfd) -> Callable[..., Result]:
    """Run a command in this process."""

    def call(*arguments: object) -> Result:
        code = run([str(argument) for argument in arguments])
        captured = capfd.readouterr()
        assert "Traceback" not in captured.err
        return Result(code, captured.out, captured.err)

    return call


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory) -> Path:
    """A tiny random Llama, saved the usual way."""
    folder = tmp_path_factory.mktemp("tiny-llama")
    bound = tiny_model()
    bound.model.save_pretrained(folder)
    bound.tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def run_folder(model_folder, tmp_path_factory) -> Path:
    """A finished run of the tiny model over our own benchmarks."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    assert run([*score_arguments(model_folder, folder)]) == 0
    return folder


def score_arguments(model: Path, output: Path, *more: str) -> list[str]:
    """A `score` command over our own benchmarks, one item per culture; prompts whole, as at level token."""
    benchmarks = ("everyday", "everyday-control", "country-rc")
    named = [part for name in benchmarks for part in ("--benchmark", name)]
    options = ["--per-culture", "1", "--no-prefix-sharing"]
    return ["score", "--model", str(model), *named, *options, "-o", str(output), *more]
