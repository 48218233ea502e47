"""Portions that are handed over between processes; runs of several are in tests/core/test_processes.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from culnig.core.processes import Processes
from culnig.errors import EnvironmentProblem
from culnig.scoring import division
from culnig.scoring.division import Handover
from culnig.store.writer import Portion


class Folder:
    """Stands in for a run folder in which another process's batches appear, one count a look."""

    folder = Path("run")

    def __init__(self, *counts: int) -> None:
        self.counts = list(counts)

    def batches_done(self, portion: Portion) -> int:
        return self.counts.pop(0) if len(self.counts) > 1 else self.counts[0]


@pytest.fixture
def heard(monkeypatch):
    """From whom the third of four processes has heard."""
    numbers = []
    monkeypatch.setattr(Processes, "hear", lambda own, number: numbers.append(number))
    monkeypatch.setattr(division, "_LOOK_EVERY", 0.0)
    return numbers


PORTION = Portion("toy", 3, 4, 9, None)


def test_a_part_that_a_node_does_not_show_yet_is_waited_for(heard):
    folder = Folder(0, 4, 5)
    Handover(folder, Processes(2, 4)).take(PORTION, 5)
    assert (heard, folder.counts) == ([1], [5])


def test_a_part_that_never_appears_ends_the_run_with_both_processes_and_the_folder(heard, monkeypatch):
    monkeypatch.setattr(division, "PATIENCE_SECONDS", -1.0)
    with pytest.raises(
        EnvironmentProblem,
        match="process 1 has saved portion 3 of 'toy', but process 2 does not see it in run; all processes",
    ):
        Handover(Folder(4), Processes(2, 4)).take(PORTION, 5)
