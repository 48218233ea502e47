"""Every writer goes through the same room: its output has one owner, and what is not its own stays.

The writers are those of `tests.writers`, which `test_kills.py` compares with the options of all commands.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from culnig.core.locks import lock, lock_name
from culnig.errors import CulnigError
from tests.forked import in_child
from tests.writers import WRITERS, make_inputs

FOREIGN = {"notes.txt": b"mine", "x.tmp": b"mine", "more/items.dat": b"mine", "run.txt": b"mine"}
READERS = [(name, read) for name, writer in WRITERS.items() for read in writer.reads]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    make_inputs(folder)
    return folder


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def refusal(work: Callable[[], Any], folder: Path | None = None) -> str:
    """The error of a call in a child, in a working directory; empty if it did its work."""

    def tried() -> str:
        if folder is not None:
            os.chdir(folder)
        try:
            work()
        except CulnigError as error:
            return error.for_command_line()
        return ""

    return str(in_child(tried))


@pytest.mark.slow
@pytest.mark.parametrize("name", WRITERS)
def test_an_output_that_another_process_writes_is_refused(inputs, tmp_path, name):
    writer = WRITERS[name]
    held = tmp_path / (writer.locked or writer.out)
    is_file = "." in held.name
    (held.parent if is_file else held).mkdir(parents=True)
    unlock = lock_name(held) if is_file else lock(held)
    assert unlock is not None
    try:
        before = files(tmp_path)
        message = refusal(lambda: writer.run(inputs, tmp_path / writer.out, overwrite=True))
        assert "another process is writing this" in message
        assert held.name in message
        assert name in ("demo", "study") or files(tmp_path) == before
    finally:
        unlock()


@pytest.mark.parametrize(("name", "read"), READERS, ids=[" ".join(pair) for pair in READERS])
def test_an_output_that_is_an_input_is_refused_before_anything_is_touched(inputs, tmp_path, name, read):
    folder = Path(shutil.copytree(inputs, tmp_path / "inputs"))
    for options in ({}, {"overwrite": True}):
        message = refusal(lambda options=options: WRITERS[name].run(folder, folder / read, **options))
        if WRITERS[name].beside_others and (folder / read).is_dir():
            assert files(inputs).items() <= files(folder).items()
            break  # sets and figures beside the files of a run, which may be replaced
        assert message
        assert files(folder) == files(inputs)


@pytest.mark.parametrize("name", WRITERS)
def test_the_files_of_another_output_are_refused(inputs, name):
    before = files(inputs)
    for inner in ("run/scores.h5", "run/items", "run/items/x.json"):
        work = WRITERS[name].run
        message = refusal(lambda inner=inner, work=work: work(inputs, inputs / inner, overwrite=True))
        assert re.search(
            r"belongs to the output in|is a (file|folder); give a|is no name of a figure", message
        )
        assert files(inputs) == before


@pytest.mark.slow
@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("out", [".", "out"])
@pytest.mark.parametrize("options", [{}, {"overwrite": True}], ids=["new", "overwrite"])
def test_files_of_others_stay(inputs, tmp_path, name, out, options):
    writer = WRITERS[name]
    for inner, content in FOREIGN.items():
        path = tmp_path / out / inner
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    before = files(tmp_path)
    message = refusal(lambda: writer.run(inputs, Path(out), **options), tmp_path)
    if writer.beside_others:
        assert not message or "exists" in message
    else:
        assert message
        assert files(tmp_path) == before
    assert {inner: content for inner, content in files(tmp_path).items() if inner in before} == before
