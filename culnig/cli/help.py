"""Help and tab completion of every command: grouped options, two examples, known names.

`helped` is applied where commands are loaded, so it covers every command however it is declared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import MethodType
from typing import TypeVar

import click
from click.shell_completion import CompletionItem

from culnig import registry
from culnig.cli.examples import EXAMPLES
from culnig.cli.options.groups import GROUPS, UNGROUPED, group_of

AnyCommand = TypeVar("AnyCommand", bound=click.Command)


def helped(command: AnyCommand) -> AnyCommand:
    """The command and its subcommands with this help and completion."""
    if isinstance(command, click.Group):
        for below in command.commands.values():
            helped(below)
        return command
    command.format_options = MethodType(_format_options, command)  # type: ignore[method-assign]
    command.format_epilog = MethodType(_format_epilog, command)  # type: ignore[method-assign]
    for parameter in command.params:
        names = next((COMPLETIONS[flag] for flag in parameter.opts if flag in COMPLETIONS), None)
        if names is not None and parameter.type is click.STRING:
            parameter.type = Names(names)
    return command


def _format_options(command: click.Command, context: click.Context, formatter: click.HelpFormatter) -> None:
    """The options by group."""
    by_group: dict[str, list[tuple[str, str]]] = {heading: [] for heading in (*GROUPS, UNGROUPED)}
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if isinstance(parameter, click.Option) and record is not None:
            by_group[group_of([*parameter.opts, *parameter.secondary_opts])].append(record)
    for heading, records in by_group.items():
        if records:
            with formatter.section(heading):
                formatter.write_dl(records)


def _format_epilog(command: click.Command, context: click.Context, formatter: click.HelpFormatter) -> None:
    """Two examples, and where to read more."""
    program, _, words = context.command_path.partition(" ")
    examples = EXAMPLES.get(words)
    if examples is None:
        return
    with formatter.section("Examples"):
        for example in examples[:2]:
            formatter.write(f"{' ' * formatter.current_indent}{program} {example}\n")
    formatter.write(f"\nMore: {examples.page}\n")


class Names(click.types.StringParamType):
    """A text that is completed with known names."""

    def __init__(self, names: Callable[[str], Iterator[str]]) -> None:
        self._names = names

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """The names that begin with what was typed."""
        return [CompletionItem(name) for name in self._names(incomplete) if name.startswith(incomplete)]


def _benchmarks(incomplete: str) -> Iterator[str]:
    yield from sorted({*registry.benchmark_names(), *registry.gallery()})
    yield from _files(incomplete, registry.DECLARATION_SUFFIXES)


def _cultures(incomplete: str) -> Iterator[str]:
    yield from sorted(registry.cultures())


def _scorers(incomplete: str) -> Iterator[str]:
    yield from registry.scorer_names()


def _sets(incomplete: str) -> Iterator[str]:
    """Neuron-set files, also after `CULTURE=`."""
    culture, equals, path = incomplete.rpartition("=")
    for name in _files(path, (".json",)):
        yield f"{culture}{equals}{name}"


def _files(incomplete: str, suffixes: tuple[str, ...]) -> Iterator[str]:
    """Files of these kinds, and folders, that begin with what was typed."""
    above, slash, _ = incomplete.rpartition("/")
    folder = Path(f"{above}{slash}" or ".")
    if folder.is_dir():
        for path in sorted(folder.iterdir()):
            if path.suffix in suffixes:
                yield f"{above}{slash}{path.name}"
            elif path.is_dir():
                yield f"{above}{slash}{path.name}/"


COMPLETIONS: dict[str, Callable[[str], Iterator[str]]] = {
    "--benchmark": _benchmarks,
    "--control": _benchmarks,
    "--exclusion": _benchmarks,
    "--target": _benchmarks,
    "--task": _benchmarks,
    "--check": _benchmarks,
    "--rescore": _benchmarks,
    "--culture": _cultures,
    "--without-culture": _cultures,
    "--scorer": _scorers,
    "--neurons": _sets,
}
"""What completes an option, by its name."""
