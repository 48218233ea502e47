"""The help of every command: options in groups, examples that parse, the same word for the same thing."""

from __future__ import annotations

import shlex
from collections import defaultdict
from pathlib import Path

import click
import pytest
from click.shell_completion import ShellComplete

from culnig.cli.examples import EXAMPLES
from culnig.cli.main import cli
from culnig.cli.options.groups import GROUPS, UNGROUPED, group_of
from culnig.errors import UnknownNameError
from tests.commands import COMMANDS

DOCS = Path(__file__).parents[2]
OPTIONS = [
    (name, parameter)
    for name, command in COMMANDS.items()
    for parameter in command.params
    if isinstance(parameter, click.Option) and not parameter.hidden
]
OTHER_NAMES = {
    ("list cultures", "benchmark"): "one name, to filter by",
    ("inspect", "benchmark"): "one benchmark of a run",
    ("list benchmarks", "check"): "reads a benchmark; elsewhere --no-check leaves out the checks",
    ("validate", "cultures"): "a number; a world is made of as many cultures",
    ("list cultures", "language"): "a language",
    ("figures", "columns"): "columns of a page",
    ("study run", "start"): "the step to start from",
}
"""Options whose argument has another name than elsewhere, and why."""


def help_of(name: str) -> str:
    context = click.Context(COMMANDS[name], info_name=f"culnig-engine {name}", terminal_width=100)
    context.help_option_names = ["-h", "--help"]
    return COMMANDS[name].get_help(context)


def test_every_option_is_in_a_group():
    """An option listed here belongs into a group of `culnig.cli.options.groups`."""
    ungrouped = {
        f"{name} {option.opts[-1]}"
        for name, option in OPTIONS
        if group_of([*option.opts, *option.secondary_opts]) == UNGROUPED
    }
    assert ungrouped == set()


def test_no_option_is_in_two_groups_and_none_is_of_no_command():
    flags = [flag for group in GROUPS.values() for flag in group]
    assert len(flags) == len(set(flags))
    known = {flag for _, option in OPTIONS for flag in (*option.opts, *option.secondary_opts)}
    assert set(flags) - known <= {"--help", "--version"}


def test_one_argument_has_one_option_everywhere():
    flags = defaultdict(set)
    for name, option in OPTIONS:
        if (name, option.name) not in OTHER_NAMES:
            flags[option.name].add(tuple(sorted(option.opts)))
    assert {name: each for name, each in flags.items() if len(each) > 1} == {}


def test_one_option_has_one_argument_everywhere():
    arguments = defaultdict(set)
    for name, option in OPTIONS:
        if (name, option.name) not in OTHER_NAMES:
            for flag in option.opts:
                arguments[flag].add(str(option.name).removesuffix("s"))  # several of them, or one
    several = {flag: names for flag, names in arguments.items() if len(names) > 1}
    assert several == SEVERAL


SEVERAL = {"--neurons": {"neuron_set", "neuron"}}
"""Sets to mask, or the one that is scored on every item."""


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_every_command_has_two_examples_and_a_page(name):
    text = help_of(name)
    assert name in EXAMPLES, "add two examples to culnig/cli/examples.py"
    examples = EXAMPLES[name]
    for example in examples[:2]:
        assert f"  culnig-engine {example}\n" in text
    assert text.rstrip().endswith(f"More: {examples.page}")
    assert (DOCS / examples.page).exists()
    assert "\nOptions:\n" not in text
    assert "\nOutput:\n" in text


@pytest.mark.parametrize("example", [line for examples in EXAMPLES.values() for line in examples[:2]])
def test_examples_are_commands_that_parse(example):
    words = shlex.split(example)
    name = next(" ".join(words[:n]) for n in (2, 1) if " ".join(words[:n]) in COMMANDS)
    COMMANDS[name].make_context(name, words[len(name.split()) :])


def test_an_unnamed_option_is_listed_last():
    from culnig.cli.help import helped

    @click.command("x")
    @click.option("--strange")
    @click.option("--json", is_flag=True)
    def command() -> None:
        """X."""

    text = helped(command).get_help(click.Context(command, info_name="x"))
    assert text.index("Output:") < text.index(f"{UNGROUPED}:") < text.index("--strange")


def test_commands_that_read_no_weights_do_not_offer_how_to_load_them():
    for name in ("modules", "neurons convert"):
        assert "--revision" in help_of(name)
        assert "--device" not in help_of(name)


def completions(*words: str) -> list[str]:
    shell = ShellComplete(cli, {}, "culnig-engine", "_CULNIG_ENGINE_COMPLETE")
    return [item.value for item in shell.get_completions(list(words[:-1]), words[-1])]


def test_names_that_exist_are_completed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("mine.yaml", "set.neurons.json", "other.txt"):
        (tmp_path / name).write_text("{}")
    assert completions("sc") == ["score"]
    assert {"everyday", "everyday-control"} <= set(completions("score", "--benchmark", "every"))
    assert completions("score", "--benchmark", "min") == ["mine.yaml"]
    assert completions("score", "--culture", "Ethi") == ["Ethiopia"]
    assert "relp" in completions("score", "--scorer", "re")
    assert completions("evaluate", "--neurons", "s") == ["set.neurons.json"]
    assert completions("evaluate", "--neurons", "China=s") == ["China=set.neurons.json"]


def test_a_wrong_culture_offers_three_names_and_not_all(tmp_path):
    from culnig.cultures.spellings import culture_keys

    with pytest.raises(UnknownNameError) as caught:
        culture_keys(["Etiopia"])
    message = str(caught.value)
    assert message.count("'") == 2 * (1 + 3)
    assert "'Ethiopia'" in message
    assert "are known" in message
    assert len(message) < 200
