"""`torchrun -m culnig score …`: equal to one process to the bit, and resumable when a rank has died."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from culnig.cli.main import run
from tests.forked import import_what, in_child
from tests.forked_commands import ranks
from tests.stored import assert_same, contents, leftovers

pytestmark = pytest.mark.slow


def arguments(model: Path, folder: Path, level: str, *more: str) -> list[str]:
    """A run of several portions."""
    benchmarks = ("--benchmark", "everyday", "--benchmark", "everyday-control", "--per-culture", "2")
    stored = ("--modules", "gate_proj") if level == "token" else ()
    return [
        *("score", "--model", str(model), *benchmarks, "--token-budget", "300", "--level", level, *stored),
        *("-o", str(folder), *more),
    ]


def start(n_ranks: int, command: list[str]) -> subprocess.Popen[str]:
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(n_ranks)]
    return subprocess.Popen(
        [sys.executable, *torchrun, "-m", "culnig", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def finish(process: subprocess.Popen[str]) -> tuple[str, str]:
    out, err = process.communicate(timeout=180)
    assert process.returncode == 0, err
    return out, err


def rank_process(launcher: int, rank: int) -> int:
    """Process id of a rank: a child of the launcher that was given this RANK."""
    children = Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()
    for child in map(int, children):
        if f"\0RANK={rank}\0".encode() in b"\0" + Path(f"/proc/{child}/environ").read_bytes():
            return child
    raise AssertionError(f"no process of rank {rank} among {children}")


def test_two_ranks_end_with_the_run_of_one_and_report_once(model_folder, tmp_path):
    assert in_child(lambda: run(arguments(model_folder, tmp_path / "alone", "token"))) == 0
    out, err = finish(start(2, arguments(model_folder, tmp_path / "run", "token")))
    assert_same(contents(tmp_path / "run"), contents(tmp_path / "alone"))
    assert leftovers(tmp_path / "run") == []
    assert len(re.findall(r"^Run ", out, re.MULTILINE)) == 1
    warnings = re.findall(r"^Do not select yet.*", out, re.MULTILINE)
    assert warnings
    assert len(set(warnings)) == len(warnings)
    assert len(re.findall(r"^loading ", err, re.MULTILINE)) == 1
    assert len(re.findall(r"^disk: ", err, re.MULTILINE)) == 1
    assert "Traceback" not in err


def test_a_rank_that_is_killed_leaves_a_run_that_other_ranks_finish(model_folder, tmp_path):
    assert import_what(lambda: run(arguments(model_folder, tmp_path / "alone", "item"))) == 0
    folder = tmp_path / "run"
    launcher = start(2, arguments(model_folder, folder, "item"))
    until = time.monotonic() + 120
    while not list(folder.glob("items/*.tmp")) + list(folder.glob("items/*.h5")):
        assert time.monotonic() < until, "the ranks never came this far"
        assert launcher.poll() is None, launcher.communicate()[1]
        time.sleep(0.005)
    os.kill(rank_process(launcher.pid, 1), signal.SIGKILL)
    launcher.communicate(timeout=120)
    assert launcher.returncode != 0
    assert not (folder / "scores.h5").exists(), "the run was over before the kill; give it more items"
    assert [done.code for done in ranks(3, arguments(model_folder, folder, "item", "--resume"))] == [0, 0, 0]
    assert_same(contents(folder), contents(tmp_path / "alone"))
    assert leftovers(folder) == []
