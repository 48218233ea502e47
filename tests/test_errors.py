"""Advice reads as Python in Python and as options on the command line."""

from __future__ import annotations

import pytest

from culnig.cli import main
from culnig.errors import InputError, OutputExistsError, UnknownNameError, argument, command, option


@pytest.mark.parametrize(
    ("advice", "in_python", "on_the_command_line"),
    [
        (option("overwrite"), "overwrite=True", "--overwrite"),
        (option("control", False), "control=False", "--no-control"),
        (option("dtype", "float32"), "dtype='float32'", "--dtype float32"),
        (option("token_budget", 512), "token_budget=512", "--token-budget 512"),
        (argument("token_budget"), "token_budget", "--token-budget"),
        (argument("benchmarks"), "benchmarks", "--benchmark"),
        (argument("out"), "out", "-o"),
        (command("select general"), "culnig.select_general(...)", "culnig-engine select general"),
    ],
)
def test_advice_is_given_in_the_words_of_the_reader(advice, in_python, on_the_command_line):
    error = InputError(f"no; try {advice}.")
    assert str(error) == f"no; try {in_python}."
    assert error.for_command_line() == f"no; try {on_the_command_line}."


def test_every_advice_in_a_message_is_translated():
    error = OutputExistsError(f"add {option('resume')}, {option('overwrite')} or another {argument('out')}")
    assert str(error) == "add resume=True, overwrite=True or another out"
    assert error.for_command_line() == "add --resume, --overwrite or another -o"


def test_errors_with_messages_of_their_own_are_translated_too():
    error = UnknownNameError("model", "x", ["y"], f"see {command('list models')}")
    assert str(error).endswith("see culnig.list_models(...)")
    assert error.for_command_line().endswith("see culnig-engine list models")


def test_the_command_line_prints_its_own_words(monkeypatch, capsys):
    def refuse(*arguments, **options):
        raise InputError(f"too small; give a larger {argument('token_budget')}")

    monkeypatch.setattr(main.cli, "main", refuse)
    assert main.run(["score"]) == 2
    assert capsys.readouterr().err == "error: too small; give a larger --token-budget\n"
