"""Commands in forked processes: one alone, or several that find each other as those of torchrun do.

What torchrun itself does (it starts them, and stops the others when one dies) is not tested with these.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from culnig import registry
from culnig.cli.main import run
from tests.forked import Child
from tests.ports import HOST, free_port

NOTHING: Mapping[str, object] = {}


@dataclass(frozen=True)
class Printed:
    """How a process ended and what it printed."""

    code: Any
    """What the work returned: the exit code of a command."""
    out: str
    err: str


def printed(work: Callable[[], Any]) -> Printed:
    """Do this work; only in a child, whose standard streams are gone then."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        os.dup2(out.fileno(), 1)
        os.dup2(err.fileno(), 2)
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = work()
        return Printed(code, _text(out), _text(err))


def _text(stream: IO[str]) -> str:
    stream.flush()
    stream.seek(0)
    return stream.read()


def forked(
    arguments: Sequence[object], environment: Mapping[str, object] = NOTHING, *, packages: Path | None = None
) -> Child:
    """A command in a process of its own, whose answer is `Printed`; `packages` has more of them installed."""

    def command() -> int:
        os.environ.update({name: str(value) for name, value in environment.items()})
        if packages is not None:
            sys.path.insert(0, str(packages))
            for known in (registry._entries, registry.cultures):
                known.cache_clear()
        return run([str(argument) for argument in arguments])

    return Child(lambda: printed(command))


def rank(number: int, of: int, port: int, arguments: Sequence[object]) -> Child:
    """One of the processes that share a command's work, as torchrun would start it."""
    connection = {"RANK": number, "LOCAL_RANK": number, "WORLD_SIZE": of}
    return forked(arguments, {**connection, "MASTER_ADDR": HOST, "MASTER_PORT": port})


def ranks(of: int, arguments: Sequence[object]) -> list[Printed]:
    """What each of several processes that share a command's work printed, by rank."""
    port = free_port()
    children = [rank(number, of, port, arguments) for number in range(of)]
    return [child.wait(180) for child in children]
