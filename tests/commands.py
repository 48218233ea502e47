"""The commands of the command line, and which of their options name what they write."""

from __future__ import annotations

from collections.abc import Iterator

import click

from culnig.cli.main import cli


def commands(group: click.Group = cli, above: str = "") -> Iterator[tuple[str, click.Command]]:
    """Every command that is no group, by its full name."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from commands(command, f"{above}{name} ")
        else:
            assert command is not None
            yield f"{above}{name}", command


COMMANDS = dict(commands())

INPUTS = {
    *("adapter", "data_dir", "evaluations", "files", "like", "means", "neurons", "path", "paths", "plan"),
    *("run", "runs", "sets", "source", "culture_records", "validations", "questions"),
    *("archive", "file", "first", "folder", "second"),
}
"""Paths that commands read; any other is one that they write."""


def outputs() -> list[str]:
    """Every option that names an output: "score --output", "report --tables" …"""
    return [
        f"{name} {parameter.opts[-1]}"
        for name, command in COMMANDS.items()
        for parameter in command.params
        if isinstance(parameter.type, click.Path) and parameter.name not in INPUTS
    ]
