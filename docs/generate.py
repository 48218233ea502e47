"""Writes docs/cli.md from the commands and docs/api.md from the public Python names.

`make docs` runs it; a test fails where a page is not what it would write.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click

import culnig
from culnig.cli.main import cli

FOLDER = Path(__file__).parent
WIDTH = 100

CLI_HEAD = """# The command line

Generated from the commands by `make docs`; do not edit.

Exit codes: 0 success, 1 a check failed (`verify`, `validate`), 2 wrong usage or input, 3 the
machine lacks something (a device, disk space, a package), 130 interrupted. `--json` prints one JSON document
on standard output and nothing else there. On a terminal, tables fit its width; elsewhere they are as wide as
needed, and `--plain` separates their cells by tabs. `COLUMNS` sets the width, `NO_COLOR` switches bold text
off.

The tab key completes commands, options, benchmarks, cultures, scorers and neuron-set files if you add
this line to `~/.bashrc` (bash 4.4 or newer; for zsh, use `zsh_source` in `~/.zshrc`):

```
eval "$(_CULNIG_ENGINE_COMPLETE=bash_source culnig-engine)"
```
"""

API_HEAD = """# The Python interface

Generated from `culnig.__all__` by `make docs`; do not edit.

Every name below comes with `import culnig`, which itself loads nothing heavy: torch is imported by the first
call that needs it. Options of a command are keyword arguments of the same name. A model is a name, as
`--model` takes it, or the result of `culnig.load_model`. Every error that culnig raises on purpose is a
`culnig.errors.CulnigError`.
"""


def command_line() -> str:
    """The text of docs/cli.md."""
    pages = [CLI_HEAD]
    for names, command in commands(cli, ("culnig-engine",)):
        context = click.Context(
            command, info_name=" ".join(names), terminal_width=WIDTH, max_content_width=WIDTH
        )
        context.help_option_names = ["-h", "--help"]
        lines = [line.rstrip() for line in command.get_help(context).splitlines()]
        pages.append(f"## {' '.join(names[1:])}\n\n```text\n" + "\n".join(lines) + "\n```\n")
    return "\n".join(pages)


def commands(group: click.Group, names: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command below a group, in the group's order, with the words that call it."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, (*names, name))
        else:
            yield (*names, name), command


def python_interface() -> str:
    """The text of docs/api.md."""
    return "\n".join([API_HEAD, *(entry(name) for name in culnig.__all__ if name != "__version__")])


def entry(name: str) -> str:
    """One public name: its signature and its docstring, and for a class those of its own methods."""
    value = getattr(culnig, name)
    text = f"## culnig.{name}\n\n"
    if inspect.isclass(value):
        text += documentation(value) + "".join(member(value, key) for key in public_members(value))
    elif callable(value):
        text += f"```python\n{signature(name, value)}\n```\n\n{documentation(value)}"
    else:
        text += f"`{value!r}`\n"
    return text


def public_members(kind: type) -> list[str]:
    """Methods and properties that a class itself defines, in their order."""
    return [
        key
        for key, value in vars(kind).items()
        if not key.startswith("_")
        and (callable(value) or isinstance(value, property | classmethod | staticmethod))
    ]


def member(kind: type, key: str) -> str:
    """One line for a method or property: the first sentence of its docstring."""
    summary = (inspect.getdoc(inspect.getattr_static(kind, key)) or "").split("\n\n")[0].replace("\n", " ")
    return f"- `{key}`: {summary}\n"


def signature(name: str, function: Callable[..., object]) -> str:
    """A call on one line if it fits, else with one parameter per line."""
    parameters: list[str] = []
    star_needed = True
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is parameter.VAR_POSITIONAL:
            star_needed = False
        if parameter.kind is parameter.KEYWORD_ONLY and star_needed:
            parameters.append("*")
            star_needed = False
        parameters.append(parameter_text(parameter))
    line = f"culnig.{name}({', '.join(parameters)})"
    if len(line) <= WIDTH:
        return line
    return f"culnig.{name}(\n" + "".join(f"    {parameter},\n" for parameter in parameters) + ")"


def parameter_text(parameter: inspect.Parameter) -> str:
    """`name: annotation = default`, as in the source."""
    stars = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
    text = f"{stars}{parameter.name}: {parameter.annotation}"
    if parameter.default is parameter.empty:
        return text
    default = getattr(parameter.default, "__name__", None) or repr(parameter.default)
    return f"{text} = {default}"


def documentation(value: object) -> str:
    """The docstring as it stands."""
    return (inspect.getdoc(value) or "") + "\n\n"


PAGES = {"cli.md": command_line, "api.md": python_interface}
"""Generated pages, each with the function that makes its text."""


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    for file_name, make in PAGES.items():
        (folder / file_name).write_text(make().rstrip() + "\n", encoding="utf-8")
