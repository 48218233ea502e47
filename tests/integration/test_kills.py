"""Every command that writes, killed at operations on files, then resumed or repeated: the same bits.

Commands run in processes forked from this one, which costs milliseconds once this one has imported what they
need. A killed process ends at once, without clean-up. Foreign files, in the output and beside it, and inputs
are compared before and after. Kills that leave the same files are repeated once: an operation such as fsync
changes none.
"""

from __future__ import annotations

import functools
import json
import os
import random
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.commands import outputs
from tests.forked import begin, import_what, in_child
from tests.stored import contents
from tests.writers import WRITERS, make_inputs

N_KILLS = int(os.environ.get("CULNIG_KILLS", "4"))
N_TRIES = 5
"""Runs that are begun for one kill: a run that is still writing in the background skips a checkpoint."""
WATCHED = ("replace", "rename", "unlink", "mkdir", "rmdir", "fsync", "link")
KILLED = 9
FOREIGN = {"notes.txt": "mine", "x.tmp": "mine", ".hidden": "mine", "more/items.dat": "mine"}


def die_at(operation: int) -> Callable[[], int]:
    """End this process, a child, at one of its operations on files; returns a count of those so far.

    Operations are counted under a lock, because results are also written in background threads.
    """
    count, counting = [0], threading.Lock()

    def watch(name: str) -> None:
        work = getattr(os, name)

        def watched(*arguments: Any, **options: Any) -> Any:
            with counting:
                count[0] += 1
                if count[0] == operation:
                    os._exit(KILLED)
            return work(*arguments, **options)

        setattr(os, name, watched)

    for name in WATCHED:
        watch(name)
    return lambda: count[0]


def killed(work: Callable[[], Any], operation: int) -> bool:
    """Run in a child that ends at an operation; whether it did so."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            begin()
            die_at(operation)
            work()
            code = 0
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert code in (0, KILLED)
    return code == KILLED


def operations(work: Callable[[], Any]) -> int:
    """How many operations on files a whole run does, in a child; later ones need not import for it."""

    def counted() -> int:
        count = die_at(0)
        work()
        return count()

    return int(import_what(counted))


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    make_inputs(folder)
    return folder


@pytest.fixture(scope="module")
def finished(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, int]]:
    """The folder of a command's undisturbed run, and how many operations on files it did."""

    @functools.cache
    def run(name: str) -> tuple[Path, int]:
        folder = tmp_path_factory.mktemp("expected") / "run"  # as deep as those of killed runs
        folder.mkdir()
        return folder, operations(lambda: WRITERS[name].run(inputs, folder / WRITERS[name].out))

    return run


def test_everything_that_is_written_is_here():
    assert {option for writer in WRITERS.values() for option in writer.options} == set(outputs())


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def result(folder: Path) -> dict[str, Any]:
    """What counts: numbers of HDF5 files, documents without what they measure, bytes of other files."""
    found: dict[str, Any] = dict(contents(folder))
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if not path.is_file() or path.suffix == ".h5" or name.removeprefix("out/") in FOREIGN:
            continue
        if name.startswith("out/steps/"):  # when a study did its steps, and for how long
            continue
        found[name] = path.read_bytes()
        if path.suffix == ".json" and name != "tokenizer.json":
            own = json.loads(path.read_bytes())
            own.pop("checksum", None)
            own.pop("hashes", None)  # of HDF5 files, whose numbers are compared
            own.pop("costs", None)  # seconds and memory of scorers
            own.pop("memory", None)  # the peak of a model that was loaded by name
            found[name] = own
    return found


def state(folder: Path) -> tuple[tuple[str, bytes], ...]:
    """All that a killed process left, whatever random names it gave."""
    return tuple(sorted((re.sub(r"[0-9a-f]{16}", "*", name), content) for name, content in left(folder)))


def left(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Names and contents of what is in a folder; folders end with a slash."""
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        yield (name, path.read_bytes()) if path.is_file() else (f"{name}/", b"")


def add_foreign(folder: Path) -> None:
    for name, text in FOREIGN.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


@pytest.mark.slow
@pytest.mark.parametrize("overwrite", [False, True], ids=["new", "overwrite"])
@pytest.mark.parametrize("name", WRITERS)
def test_killed_and_repeated_gives_the_same_bits(inputs, finished, tmp_path, name, overwrite):
    command = WRITERS[name]
    before = files(inputs)
    start, n_operations = finished(name)
    expected = result(start)

    def copied(number: object) -> Path:
        folder = tmp_path / str(number)
        if overwrite:
            shutil.copytree(start, folder)
            if not command.refuses_others:
                add_foreign(folder / "out")
        return folder / command.out

    first = {"overwrite": True} if overwrite else {}
    if overwrite:
        counted = copied("counted")
        n_operations = operations(lambda: command.run(inputs, counted, **first))
    draw = random.Random(f"{name} {overwrite}")
    parts = np.array_split(range(1, n_operations + 1), min(N_KILLS, n_operations))  # a kill in each
    repeated = set()
    for operation in (int(draw.choice(part)) for part in parts):
        for _ in range(N_TRIES):
            out = copied(operation)
            if killed(lambda out=out: command.run(inputs, out, **first), operation):
                break
            shutil.rmtree(tmp_path / str(operation))
        else:
            pytest.fail(f"{N_TRIES} runs ended before their operation {operation} of {n_operations}")
        again = {"resume": True} if command.resumes and operation % 2 else {"overwrite": True}
        if overwrite and command.resumes and not (out / "request.json").exists() and name != "score":
            again = {"overwrite": True}  # the kill came first: the old result is there
        if (start_of := (*again, state(tmp_path / str(operation)))) in repeated:
            continue  # the same files and the same call as after an earlier kill
        repeated.add(start_of)
        in_child(lambda out=out, again=again: command.run(inputs, out, **again))
        root = tmp_path / str(operation)
        assert result(root) == expected, f"killed at {operation} of {n_operations}"
        temporary = [path for path in root.rglob("*") if path.name.startswith(".culnig-")]
        assert temporary == [], f"killed at {operation} of {n_operations}"
        if overwrite and not command.refuses_others:
            assert {name: (root / "out" / name).read_text() for name in FOREIGN} == FOREIGN
        shutil.rmtree(root)
    assert files(inputs) == before
