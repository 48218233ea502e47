"""Standard output and error that are full, closed or without Unicode, in this process."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO

import pytest

from culnig.cli import streams
from culnig.cli.main import run

COMMANDS = (
    ["list", "scorers"],
    ["list", "scorers", "--json"],
    ["list", "benchmarks"],
    ["--help"],
    ["plan", "--help"],
)


@contextlib.contextmanager
def stream_to(descriptor: int, write_through: bool) -> Iterator[TextIO]:
    raw = io.FileIO(descriptor, "wb")
    stream = io.TextIOWrapper(raw if write_through else io.BufferedWriter(raw), write_through=write_through)  # type: ignore[arg-type]
    yield stream
    with contextlib.suppress(OSError):
        stream.close()
    raw.close()


@pytest.fixture(params=["buffered", "unbuffered"])
def closed_pipe(request: pytest.FixtureRequest) -> Iterator[TextIO]:
    """A pipe whose reader is gone."""
    read, write = os.pipe()
    os.close(read)
    with stream_to(write, request.param == "unbuffered") as stream:
        yield stream


@pytest.fixture(params=["buffered", "unbuffered"])
def full_disk(request: pytest.FixtureRequest) -> Iterator[TextIO]:
    """A device that takes nothing."""
    with stream_to(os.open("/dev/full", os.O_WRONLY), request.param == "unbuffered") as stream:
        yield stream


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_a_full_disk_is_exit_code_3(
    arguments: list[str], full_disk: TextIO, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    monkeypatch.setattr(sys, "stdout", full_disk)
    assert run(arguments) == 3
    error = capfd.readouterr().err
    assert error == (
        "error: cannot write to standard output: No space left on device; files that were written are kept\n"
    )


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_a_reader_that_stops_reading_is_no_error(
    arguments: list[str], closed_pipe: TextIO, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    monkeypatch.setattr(sys, "stdout", closed_pipe)
    assert run(arguments) == 0
    assert capfd.readouterr().err == ""


def test_a_closed_pipe_keeps_the_exit_code_of_an_error(
    closed_pipe: TextIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdout", closed_pipe)
    monkeypatch.setattr(sys, "stderr", closed_pipe)
    assert run(["list", "nothing"]) == 2


def test_streams_that_are_closed_are_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    assert run(["list", "scorers"]) == 0
    assert run(["list", "nothing"]) == 2


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_terminals_without_unicode_get_ascii(
    encoding: str, arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", stream)
    assert run(arguments) == 0
    printed = stream.buffer.getvalue().decode(encoding)  # type: ignore[attr-defined]
    assert "\\u" not in printed or "--json" in arguments
    if "--json" in arguments:
        assert len(json.loads(printed)["scorers"]) > 5


def test_a_run_never_gets_the_number_of_a_closed_stream(tmp_path: Any) -> None:
    """In a child: with standard error closed, the next file would be number 2."""
    child = os.fork()
    if child == 0:
        os.close(2)
        streams.hold_standard_streams()
        os._exit(0 if os.open(tmp_path / "x", os.O_CREAT | os.O_WRONLY) > 2 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
