"""Building blocks of options, and the options that most commands have."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from culnig.cli.output import PLAIN

Command = TypeVar("Command", bound=Callable[..., Any])

PATH: Any = click.Path(path_type=Path)
SHARE = click.FloatRange(0, 1)


def together(*decorators: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """Several decorators as one, in the order given."""

    def decorate(command: Command) -> Command:
        for decorator in reversed(decorators):
            command = decorator(command)
        return command

    return decorate


def defaults_of(function: Callable[..., Any]) -> Callable[[click.Command], click.Command]:
    """Give each option the default of the matching keyword argument of `function`.

    Every default is thus written once, in the library.
    """
    parameters = inspect.signature(function).parameters

    def fill(command: click.Command) -> click.Command:
        for option in command.params:
            default = parameters[option.name].default if option.name in parameters else None
            if option.required or default in (None, (), inspect.Parameter.empty):
                continue
            if isinstance(option, click.Option) and not option.is_flag:
                option.default, option.show_default = default, True
        return command

    return fill


def json_option(*, tables: bool = True) -> Callable[[Command], Command]:
    """--json, and for commands that print `tables` --plain."""
    as_json = click.option(
        "--json", "as_json", is_flag=True, help="Print one JSON document and nothing else."
    )
    return together(as_json, plain_option()) if tables else as_json


def plain_option() -> Callable[[Command], Command]:
    """--plain."""

    def use(context: click.Context, parameter: click.Parameter, plain: bool) -> None:
        context.meta[PLAIN] = plain

    return click.option(
        "--plain",
        is_flag=True,
        expose_value=False,
        callback=use,
        help="Print tables with all columns, cells separated by tabs.",
    )


def overwrite_option() -> Callable[[Command], Command]:
    """--overwrite."""
    return click.option("--overwrite", is_flag=True, help="Replace an earlier output of this kind.")


def resume_option(work: str) -> Callable[[Command], Command]:
    """--resume."""
    return click.option("--resume", is_flag=True, help=f"Continue an interrupted {work}.")


def out_options(
    help_text: str, *, required: bool = True, tables: bool = True
) -> Callable[[Command], Command]:
    """-o, --overwrite and --json; --plain for commands that print `tables`."""
    return together(
        click.option("-o", "--output", "out", type=PATH, required=required, help=help_text),
        overwrite_option(),
        json_option(tables=tables),
    )
