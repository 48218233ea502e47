"""The command group, and the one place where exceptions become exit codes.

0 success    1 a check failed    2 bad usage or input    3 environment    130 interrupted
"""

from __future__ import annotations

import importlib
import io
import shlex
import sys
from collections.abc import Sequence

import click

from culnig import __version__
from culnig.cli import interruption, streams
from culnig.cli.help import helped
from culnig.core.memory import keep_freed_memory
from culnig.core.processes import launched, says_why_it_stops
from culnig.core.text import visible
from culnig.errors import AnotherStopped, CulnigError, EnvironmentProblem

COMMANDS = {
    "demo": "culnig.cli.demo",
    "study": "culnig.cli.study",
    "plan": "culnig.cli.plan",
    "verify": "culnig.cli.verify",
    "validate": "culnig.cli.validate",
    "leaderboard": "culnig.cli.leaderboard",
    "score": "culnig.cli.score",
    "reduce": "culnig.cli.reduce",
    "merge": "culnig.cli.merge",
    "import": "culnig.cli.import_",
    "select": "culnig.cli.select",
    "neurons": "culnig.cli.neurons",
    "audit": "culnig.cli.audit",
    "evaluate": "culnig.cli.evaluate",
    "compare": "culnig.cli.compare",
    "ask": "culnig.cli.ask",
    "export": "culnig.cli.export",
    "modules": "culnig.cli.modules",
    "train": "culnig.cli.train",
    "instances": "culnig.cli.instances",
    "report": "culnig.cli.report",
    "figures": "culnig.cli.figures",
    "cite": "culnig.cli.cite",
    "inspect": "culnig.cli.inspect",
    "hub": "culnig.cli.hub",
    "list": "culnig.cli.list",
    "benchmarks": "culnig.cli.benchmarks",
    "cache": "culnig.cli.cache",
}
"""Module of each command, in the order in which a study uses them; each module has a `command`."""

EXIT_INPUT = 2
EXIT_ENVIRONMENT = 3
EXIT_INTERRUPTED = 130


class Commands(click.Group):
    """Imports a command's module when the command is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order in which a study uses them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load one command."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(COMMANDS[cmd_name]).command
        return helped(command)


@click.command(
    cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(__version__, prog_name="culnig-engine")
def cli() -> None:
    """Find the neurons of a language model that carry cultural understanding.

    The pipeline: score a model over benchmarks, select neurons from the stored scores, evaluate the model
    with them masked. `demo` runs all of it on a small model.
    """


def main() -> None:
    """Console script: run a command and exit."""
    streams.hold_standard_streams()
    keep_freed_memory()
    code = run(sys.argv[1:])
    streams.drop_unwritten_output()
    sys.exit(code)


def run(arguments: list[str]) -> int:
    """Run a command; returns the exit code and prints an error where there is one."""
    with streams.guarded():
        try:
            with interruption.noticed():
                code = cli.main(arguments, prog_name="culnig-engine", standalone_mode=False)
            if sys.stdout is not None:
                sys.stdout.flush()
        except click.ClickException as error:
            message = io.StringIO()
            error.show(file=message)
            return _failed(message.getvalue().rstrip("\n"), EXIT_INPUT)
        except AnotherStopped:
            return EXIT_ENVIRONMENT
        except EnvironmentProblem as error:
            return _failed(f"error: {error.for_command_line()}", EXIT_ENVIRONMENT)
        except CulnigError as error:
            return _failed(f"error: {error.for_command_line()}", EXIT_INPUT)
        except MemoryError as error:
            reason = f": {error}" if str(error) else ""
            return _failed(f"error: this machine has too little memory for it{reason}", EXIT_ENVIRONMENT)
        except (KeyboardInterrupt, click.Abort):
            return _failed(f"interrupted; finished parts are kept{_resuming(arguments)}", EXIT_INTERRUPTED)
        return code if isinstance(code, int) else 0


def _resuming(arguments: Sequence[str]) -> str:
    """How to continue the interrupted command, if it can be continued."""
    command = cli.get_command(click.Context(cli), arguments[0]) if arguments else None
    if command is None or not any(parameter.name == "resume" for parameter in command.params):
        return ""
    words = [word for word in arguments if word != "--overwrite"]
    if "--resume" not in words:
        words.append("--resume")
    before = "; continue with the same torchrun and: " if launched().of > 1 else "; continue with: "
    return f"{before}culnig-engine {shlex.join(words)}"


def _failed(message: str, code: int) -> int:
    """The code; of the processes of torchrun only the first that fails prints its message."""
    if not says_why_it_stops():
        return code
    click.echo(visible(message, lines=True), err=True)
    return code
