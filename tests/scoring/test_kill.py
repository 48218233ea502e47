"""Kill -9 at any moment of a run, then --resume: the same bits as without, and nothing left over.

Runs are forked from the test process, so that dozens of them can be killed in a minute.
"""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import pytest

from culnig.benchmarks.base import ChosenItems
from culnig.scoring import keepers
from culnig.scoring.levels import LEVELS, StoredTensors
from culnig.scoring.run import RunSettings, score_run
from culnig.scoring.scoring import ScoreSettings
from culnig.store import files, hdf5, writer
from tests.alike import variants
from tests.forked import Child, import_what, in_child
from tests.stored import assert_same, contents, leftovers
from tests.tiny_models import tiny_items, tiny_model

BENCHMARKS = {
    "toy-target": ChosenItems("target", "identify", variants(3, 4), {}),
    "toy-control": ChosenItems("control", "identify", tiny_items(3), {}),
}
N_KILLS = int(os.environ.get("CULNIG_KILLS", "8"))
"""At random moments, for each level."""
TENSORS = {"token": StoredTensors(modules=("q_proj", "gate_proj"))}
"""Two of seven modules: parts hold whole items, so what there is to lose is the same with less to write."""


def settings(level):
    return RunSettings(level=level, tensors=TENSORS.get(level, StoredTensors()))


@pytest.fixture(autouse=True)
def often(monkeypatch):
    """A checkpoint after every part, and many parts."""
    monkeypatch.setattr(writer, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(writer, "_WRITING_SHARE", 1e9)
    monkeypatch.setattr(keepers, "PART_BYTES", 400_000)


@pytest.fixture(scope="module")
def bound():
    return tiny_model()


def score(bound, folder, level, *, resume=True):
    """A run, as the command makes it; by then a killed one holds no lock."""
    score_run(
        bound,
        BENCHMARKS,
        ScoreSettings(token_budget=400),
        folder,
        run_settings=settings(level),
        resume=resume,
    )
    return contents(folder)


@pytest.mark.slow
@pytest.mark.parametrize("level", LEVELS)
def test_killed_at_random_moments_and_resumed_gives_the_same_bits(bound, tmp_path, level):
    expected = import_what(lambda: score(bound, tmp_path / "expected", level, resume=False))
    began = time.monotonic()
    in_child(lambda: score(bound, tmp_path / "timed", level, resume=False))
    whole = time.monotonic() - began
    moments = random.Random(f"kill {level}")
    killed = 0
    for number in range(N_KILLS):
        folder = tmp_path / str(number)
        child = Child(lambda folder=folder: score(bound, folder, level))
        time.sleep(whole * (number + moments.uniform(0.02, 0.98)) / N_KILLS)  # one in each part of the run
        child.kill()
        killed += child.wait() is None
        assert_same(in_child(lambda folder=folder: score(bound, folder, level)), expected)
        assert leftovers(folder) == []
    assert killed >= N_KILLS // 2, "the moments should lie within the run"


class DiskOperations:
    """Counts what a run does to the disk, and kills the process at one of these operations."""

    def __init__(self, kill_at: int | None = None) -> None:
        self.count, self.kill_at = 0, kill_at
        for owner, name in (
            (hdf5._DiskFile, "write"),
            (files.os, "fsync"),
            (Path, "replace"),
            (Path, "unlink"),
            (Path, "mkdir"),
        ):
            self._watch(owner, name)

    def _watch(self, owner, name) -> None:
        work = getattr(owner, name)

        def watched(*arguments, **options):
            self.count += 1
            if self.count == self.kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            return work(*arguments, **options)

        setattr(owner, name, watched)


SHORT = {"toy-target": ChosenItems("target", "identify", tiny_items(3), {})}


def score_watched(bound, folder, level, kill_at=None):
    """The number of disk operations of a short run. Only for a child process: it patches for good."""
    operations = DiskOperations(kill_at)
    score_run(
        bound,
        SHORT,
        ScoreSettings(token_budget=1),
        folder,
        run_settings=settings(level),
        resume=True,
    )
    return operations.count


@pytest.mark.slow
@pytest.mark.parametrize("level", LEVELS)
def test_killed_at_any_disk_operation_and_resumed_gives_the_same_bits(bound, tmp_path, level):
    n_operations = in_child(lambda: score_watched(bound, tmp_path / "expected", level))
    expected = contents(tmp_path / "expected")
    assert n_operations > 50
    step = max(1, n_operations // N_KILLS)
    for kill_at in range(1, n_operations + 1, step):
        folder = tmp_path / str(kill_at)
        child = Child(lambda folder=folder, at=kill_at: score_watched(bound, folder, level, at))
        assert child.wait() is None
        assert child.killed_by == signal.SIGKILL
        in_child(lambda folder=folder: score_watched(bound, folder, level))
        assert_same(contents(folder), expected)
        assert leftovers(folder) == []


@pytest.mark.slow
def test_killed_again_and_again(bound, tmp_path):
    """Every attempt is killed at a later operation than the one before, in one folder."""
    in_child(lambda: score_watched(bound, tmp_path / "expected", "item"))
    folder, attempts = tmp_path / "run", 0
    for kill_at in range(3, 1_000, 9):
        if Child(lambda at=kill_at: score_watched(bound, folder, "item", at)).wait() is not None:
            break
        attempts += 1
    assert attempts > 3
    assert_same(contents(folder), contents(tmp_path / "expected"))
    assert leftovers(folder) == []
