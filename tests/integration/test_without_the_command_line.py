"""Python does what every command does, with the same options and without `culnig.cli`."""

from __future__ import annotations

import importlib
import inspect
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

import culnig
from culnig.models.settings import LoadOptions
from culnig.training.settings import TrainOptions
from tests.commands import COMMANDS

ROOT = Path(__file__).parents[2]
FUNCTIONS = {
    "cache list": ("list_cache",),
    "cache clear": ("clear_cache",),
    "export": ("export_model",),
    "import": ("import_scores", "import_evaluation"),
    "list benchmarks": ("list_benchmarks", "check_benchmark"),
    "modules": ("plan_training",),
    "select specific": ("select_specific", "select_specific_sets"),
    "study pack": ("pack_study",),
    "study run": ("study", "plan_study", "export_study", "study_example", "study_schema"),
    "study unpack": ("unpack_study",),
    "train": ("train", "compare_arms"),
}
"""Functions of commands whose function has another name, or that have several."""

KEYWORDS = {
    "check": "benchmark",
    "from": "source",  # of `benchmarks new`; `study` calls it `start`
    "factor": "factors",
    "format": "to",
    "neurons": "neuron_sets",
    "output": "out",
    "o": "out",
    "scorer": "scorers",
    "share": "shares",
}
"""Keyword arguments that have another name than their option; any option may be the plural."""

ONLY_OPTIONS = {
    "json": "functions return what is printed",
    "help": "functions have docstrings",
    "plain": "functions return what is printed",
    "cultures": "`culnig.use_cultures` adds the records of a folder",
    "dry_run": "`culnig.plan_study`",
    "export": "`culnig.export_study`",
    "init": "`culnig.study_example`",
    "schema": "`culnig.study_schema`",
}
"""Options that are no keyword arguments, and why."""


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory) -> dict[str, str]:
    """How each command's work ended without the command line."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.integration.every_command", str(tmp_path_factory.mktemp("library"))],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    outcomes: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    return outcomes


@pytest.mark.parametrize("name", COMMANDS)
def test_the_library_does_the_work_of_every_command(outcomes, name):
    assert outcomes.get(name, "every_command.py does not do it") == "ok"


# Options are keyword arguments


def functions_of(name: str) -> list[Any]:
    names = FUNCTIONS.get(name, (name.replace(" ", "_").replace("-", "_"),))
    return [getattr(culnig, function) for function in names]


def keywords_of(function: Any) -> dict[str, Any]:
    """Keyword arguments with their defaults; those of `**options: Unpack[SomeOptions]` are among them."""
    keywords = {}
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is not parameter.VAR_KEYWORD:
            keywords[name] = parameter.default
            continue
        typed = str(parameter.annotation).removeprefix("Unpack[").removesuffix("]")
        if typed == "Any":  # those of the function that it passes them on to
            keywords |= keywords_of(getattr(culnig, f"{function.__name__}_sets"))
            continue
        options = _OPTIONS.get(typed) or getattr(importlib.import_module(function.__module__), typed)
        keywords |= dict.fromkeys(options.__annotations__, parameter.empty)
    return keywords


_OPTIONS: dict[str, Any] = {"LoadOptions": LoadOptions, "TrainOptions": TrainOptions}


def option_names() -> Iterator[tuple[str, str]]:
    for name, command in COMMANDS.items():
        for parameter in command.params:
            if isinstance(parameter, click.Option) and not parameter.hidden:
                flag = max((*parameter.opts, *parameter.secondary_opts), key=len)
                flag = next((opt for opt in parameter.opts if opt.startswith("--")), flag)
                yield name, flag


OPTION_NAMES = list(option_names())


@pytest.mark.parametrize(("name", "flag"), OPTION_NAMES, ids=[" ".join(pair) for pair in OPTION_NAMES])
def test_every_option_is_a_keyword_argument(name, flag):
    option = flag.lstrip("-").removeprefix("no-").replace("-", "_")
    if option in ONLY_OPTIONS:
        return
    keyword = KEYWORDS.get(option, option)
    allowed = {option, keyword, f"{option}s", f"{keyword}s"}
    allowed |= {"start"} if name == "study run" else set()
    keywords = set().union(*(keywords_of(function) for function in functions_of(name)))
    assert allowed & keywords, f"{flag} of {name!r}: {', '.join(sorted(keywords))}"


@pytest.mark.parametrize("name", COMMANDS)
def test_defaults_are_those_of_the_command_line(name):
    keywords: dict[str, Any] = {}
    for function in reversed(functions_of(name)):
        keywords |= keywords_of(function)
    for parameter in COMMANDS[name].params:
        default = parameter.get_default(click.Context(COMMANDS[name]), call=False)
        if not isinstance(parameter, click.Option) or not isinstance(default, int | float | str):
            continue
        if keywords.get(parameter.name, inspect.Parameter.empty) is not inspect.Parameter.empty:
            expected = keywords[parameter.name]
            assert expected == default or not (expected or default), parameter.name
