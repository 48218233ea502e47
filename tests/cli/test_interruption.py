"""Ctrl-C and kill: exit 130, nothing half-written, and --resume ends with the same bits."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import weakref

import h5py
import numpy as np
import pytest

from culnig.cli import interruption
from culnig.cli.progress import progress_view
from culnig.store import files, writer
from tests.cli.conftest import score_arguments
from tests.forked_commands import forked


def equal_scores(first, second):
    with h5py.File(first / "scores.h5") as one, h5py.File(second / "scores.h5") as two:
        assert set(one["benchmarks"]) == set(two["benchmarks"])
        for name, group in one["benchmarks"].items():
            for table in ("sum", "sum_of_squares", "positive_count", "n_items", "confidence_sum"):
                np.testing.assert_array_equal(group[table][()], two[f"benchmarks/{name}/{table}"][()])
            assert list(group["items/predicted"].asstr()) == list(
                two[f"benchmarks/{name}/items/predicted"].asstr()
            )


def test_ctrl_c_between_batches_keeps_the_parts_and_resume_finishes(
    culnig, run_folder, model_folder, tmp_path, monkeypatch
):
    folder = tmp_path / "run"
    saved = writer.RunWriter.save_part
    monkeypatch.setattr(writer.RunWriter, "checkpoint_due", lambda self: True)

    def interrupt_in_the_second_benchmark(self, portion, role, split, state):
        saved(self, portion, role, split, state)
        if portion.benchmark == "everyday-control" and state.batches_done == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(writer.RunWriter, "save_part", interrupt_in_the_second_benchmark)
    stopped = culnig(*score_arguments(model_folder, folder))
    assert stopped.code == 130
    assert not (folder / "scores.h5").exists()
    assert sorted(path.name for path in (folder / "parts").iterdir()) == [
        "everyday-000.h5",
        "everyday-control-000.h5",
    ]
    unfinished = culnig("select", "general", folder, "-o", tmp_path / "x.json")
    assert unfinished.code == 2
    assert "--resume" in unfinished.err
    monkeypatch.setattr(writer.RunWriter, "save_part", saved)
    assert culnig(*score_arguments(model_folder, folder, "--resume")).code == 0
    equal_scores(folder, run_folder)
    assert not list(folder.rglob("*.tmp"))
    assert not (folder / "parts").exists()


def listen():
    """Ctrl-C works, also where the tests run in the background of a shell, which ignores it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def listening():
    before = signal.getsignal(signal.SIGINT)
    listen()
    yield
    signal.signal(signal.SIGINT, before)


def start(arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "culnig", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
        preexec_fn=listen,  # else an ignored Ctrl-C would be ignored by the command too
    )


def wait_for(condition, seconds=60):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "the command never came this far"
        time.sleep(0.002)


def some_parts(folder):
    return lambda: any((folder / "parts").glob("*"))


def assert_resumed(culnig, model_folder, folder, run_folder):
    assert culnig(*score_arguments(model_folder, folder, "--resume")).code == 0
    equal_scores(folder, run_folder)
    assert not list(folder.rglob("*.tmp"))


def test_a_process_stopped_by_ctrl_c_can_be_resumed(culnig, run_folder, model_folder, tmp_path):
    folder = tmp_path / "run"
    process = start(score_arguments(model_folder, folder))
    wait_for(some_parts(folder))
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    if process.returncode == 0:
        pytest.fail(f"the run was over before the signal came; give it more items:\n{err.decode()}")
    assert process.returncode == 130
    assert b"Traceback" not in err
    assert_resumed(culnig, model_folder, folder, run_folder)


def test_a_killed_process_can_be_resumed(culnig, run_folder, model_folder, tmp_path):
    folder = tmp_path / "run"
    process = forked(score_arguments(model_folder, folder))
    wait_for(some_parts(folder))
    process.kill()
    assert process.wait() is None, "the run was over before it was killed; give it more items"
    assert_resumed(culnig, model_folder, folder, run_folder)


class Watched:
    """Something that a weak reference can watch."""


def test_an_interruption_that_python_drops_is_raised_by_the_next_step_of_progress(listening):
    with interruption.noticed(), progress_view(quiet=True) as view:
        view.progress("items", 1, 2)
        watched = Watched()
        reference = weakref.ref(watched, lambda dead: signal.raise_signal(signal.SIGINT))
        del watched  # else Python would say "Exception ignored in"; it goes on
        assert reference() is None
        with pytest.raises(KeyboardInterrupt):
            view.progress("items", 2, 2)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_interruption_while_a_file_is_written_waits_for_the_next_step(listening, tmp_path, monkeypatch):
    synced = os.fsync

    def interrupted(descriptor):
        signal.raise_signal(signal.SIGINT)
        synced(descriptor)

    monkeypatch.setattr(os, "fsync", interrupted)
    with interruption.noticed(), progress_view(quiet=True) as view:
        view.progress("items", 0, 1)
        files.write_json(tmp_path / "x.json", {"whole": True})
        with pytest.raises(KeyboardInterrupt):
            view.progress("items", 1, 1)
    assert files.read_json(tmp_path / "x.json", "a test") == {"whole": True}


def test_an_interruption_elsewhere_comes_at_once(listening):
    with interruption.noticed(), pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
