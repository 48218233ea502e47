from __future__ import annotations

import io
import os
import signal
import sys

import pytest

from culnig.benchmarks.base import ChosenItems
from culnig.cli.main import run
from culnig.core.processes import ALONE, Processes, disconnect, launched, parse_shard
from culnig.errors import AnotherStopped, InputError
from culnig.scoring.levels import LEVELS
from culnig.scoring.run import RunSettings, score_portions
from culnig.scoring.scoring import ScoreSettings
from culnig.verification import quick
from culnig.verification.checks import Check
from tests.forked import Child, in_child
from tests.ports import HOST, free_port
from tests.stored import assert_same, contents, leftovers
from tests.tiny_models import tiny_items, tiny_model


@pytest.mark.parametrize("of", [1, 2, 3, 7])
def test_every_portion_is_taken_by_one_process(of):
    processes = [Processes(number, of) for number in range(of)]
    for turn in range(40):
        assert sum(process.takes(turn) for process in processes) == 1
    shares = [sum(process.takes(turn) for turn in range(40)) for process in processes]
    assert max(shares) - min(shares) <= 1


def test_without_torchrun_a_process_is_alone(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    assert launched() == ALONE
    monkeypatch.setenv("RANK", "1")  # other launchers set some of them
    assert launched() == ALONE
    assert ALONE.is_first
    assert ALONE.takes(0)
    assert ALONE.takes(5)


def test_who_makes_the_folder():
    assert [Processes(number, 3).is_first for number in range(3)] == [True, False, False]
    assert [Processes(number, 3, is_shard=True).is_first for number in range(3)] == [True, True, True]


def test_a_single_process_and_a_shard_do_not_wait():
    ALONE.wait_for_all()
    Processes(1, 3, is_shard=True).wait_for_all()


@pytest.mark.parametrize(("text", "number", "of"), [("1/1", 0, 1), ("2/8", 1, 8), ("8/8", 7, 8)])
def test_shards_are_counted_from_one(text, number, of):
    assert parse_shard(text) == Processes(number, of, is_shard=True)


@pytest.mark.parametrize(
    "text", ["0/2", "3/2", "2", "/", "1/", "a/b", "1/2/3", "-1/2", "1.5/2", "1/" + "9" * 5000]
)
def test_other_text_is_refused_as_a_shard(text):
    with pytest.raises(InputError, match="is not a shard; give I/N with I from 1 to N, such as 2/8"):
        parse_shard(text)


# Several processes that write one run, connected as torchrun connects them

BENCHMARKS = {
    "toy-target": ChosenItems("target", "identify", tiny_items(17), {}),
    "toy-control": ChosenItems("control", "identify", tiny_items(9), {}),
}
"""Three portions."""


def score(folder, level, processes, **options):
    how = RunSettings(level=level)
    score_portions(
        tiny_model(),
        BENCHMARKS,
        ScoreSettings(token_budget=1),
        folder,
        processes,
        run_settings=how,
        **options,
    )


def start_ranks(folder, level, n_ranks, **options):
    """One forked process per rank."""
    environment = {"WORLD_SIZE": str(n_ranks), "MASTER_ADDR": HOST, "MASTER_PORT": str(free_port())}

    def work(rank):
        os.environ.update(environment, RANK=str(rank))
        processes = launched()
        score(folder, level, processes, **options)
        disconnect()
        return processes

    return [Child(lambda rank=rank: work(rank)) for rank in range(n_ranks)]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """Runs of one process, by level."""
    folder = tmp_path_factory.mktemp("alone")
    for level in LEVELS:
        in_child(lambda level=level: score(folder / level, level, ALONE))
    return {level: contents(folder / level) for level in LEVELS}


@pytest.mark.slow
@pytest.mark.parametrize("n_ranks", [2, 3])
@pytest.mark.parametrize("level", LEVELS)
def test_several_processes_end_with_the_run_of_one(tmp_path, alone, level, n_ranks):
    ranks = start_ranks(tmp_path / "run", level, n_ranks)
    assert [rank.wait() for rank in ranks] == [Processes(number, n_ranks) for number in range(n_ranks)]
    assert_same(contents(tmp_path / "run"), alone[level])
    assert leftovers(tmp_path / "run") == []


@pytest.mark.slow
@pytest.mark.parametrize("level", ["culture", "item"])
def test_more_processes_than_portions_do_no_harm(tmp_path, alone, level):
    for rank in start_ranks(tmp_path / "run", level, 5):
        rank.wait()
    assert_same(contents(tmp_path / "run"), alone[level])


def on_own(folder, progress_of, n_ranks=3):
    """The items that each process reported, also to `progress_of(rank)`, or that another has stopped."""
    environment = {"WORLD_SIZE": str(n_ranks), "MASTER_ADDR": HOST, "MASTER_PORT": str(free_port())}

    def work(rank):
        os.environ.update(environment, RANK=str(rank))
        reported = []
        progress = progress_of(rank)

        def report(name, n_items):
            reported.append(n_items)
            progress(reported)

        try:
            score(folder, "culture", launched(), progress=report)
        except AnotherStopped:
            return "stopped"
        disconnect()
        return reported

    return [child.wait() for child in [Child(lambda rank=rank: work(rank)) for rank in range(n_ranks)]]


def test_processes_that_share_portions_have_equally_many_batches(tmp_path, alone):
    """Of 26 batches in portions of 8, 9 and 9, two processes have 13 each: the second one is handed over."""
    first, second = on_own(tmp_path / "run", lambda rank: lambda reported: None, 2)
    assert first == [1] * 13
    assert second == [1] * 9 + [5] + [1] * 4
    assert_same(contents(tmp_path / "run"), alone["culture"])


@pytest.mark.slow
@pytest.mark.parametrize("n_ranks", [2, 4])
def test_a_process_that_dies_leaves_portions_that_another_number_finishes(tmp_path, alone, n_ranks):
    """The second of three dies: the first cannot finish without it, and the third may wait for a portion."""

    def dies(reported):
        if len(reported) == 3:
            os.kill(os.getpid(), signal.SIGKILL)

    ends = on_own(tmp_path / "run", lambda rank: dies if rank == 1 else lambda reported: None)
    assert ends == ["stopped", None, "stopped"]
    assert list((tmp_path / "run" / "parts").glob("*.h5"))
    for rank in start_ranks(tmp_path / "run", "culture", n_ranks, resume=True):
        rank.wait()
    assert_same(contents(tmp_path / "run"), alone["culture"])
    assert leftovers(tmp_path / "run") == []


def test_a_finished_run_is_not_changed(tmp_path):
    in_child(lambda: score(tmp_path / "run", "culture", ALONE))
    before = (tmp_path / "run" / "scores.h5").read_bytes()
    for rank in start_ranks(tmp_path / "run", "culture", 2, resume=True):
        rank.wait()
    assert (tmp_path / "run" / "scores.h5").read_bytes() == before


def test_a_failed_check_ends_all_processes_with_one_message(tmp_path):
    """Only the first process checks the model; the others wait for it."""
    bound = tiny_model()
    bound.model.save_pretrained(tmp_path / "model")
    bound.tokenizer.save_pretrained(tmp_path / "model")
    environment = {"WORLD_SIZE": "2", "MASTER_ADDR": HOST, "MASTER_PORT": str(free_port())}

    def failing(passes):
        return Check("binding and widths", False, "made to fail")

    def work(rank):
        os.environ.update(environment, RANK=str(rank))
        quick.QUICK_CHECKS["binding and widths"] = failing
        sys.stdout, sys.stderr = io.StringIO(), io.StringIO()
        words = f"score --model {tmp_path / 'model'} --benchmark everyday --limit 2 --device cpu"
        code = run([*words.split(), "-o", str(tmp_path / "run")])
        return code, [line for line in sys.stderr.getvalue().splitlines() if "error" in line]

    first, second = [rank.wait() for rank in [Child(lambda rank=rank: work(rank)) for rank in (0, 1)]]
    assert first[0] == 2
    assert len(first[1]) == 1
    assert "fails the check 'binding and widths': made to fail" in first[1][0]
    assert second == (3, [])
    assert not (tmp_path / "run").exists()
