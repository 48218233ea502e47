from __future__ import annotations

import pytest

from culnig.errors import InputError
from culnig.extraction.processes import ALONE, Processes, launched, parse_shard


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


def test_a_process_alone_and_a_shard_wait_for_nobody():
    ALONE.wait_for_all()
    Processes(1, 3, is_shard=True).wait_for_all()


@pytest.mark.parametrize(("text", "number", "of"), [("1/1", 0, 1), ("2/8", 1, 8), ("8/8", 7, 8)])
def test_shards_are_counted_from_one(text, number, of):
    assert parse_shard(text) == Processes(number, of, is_shard=True)


@pytest.mark.parametrize(
    "text", ["0/2", "3/2", "2", "/", "1/", "a/b", "1/2/3", "-1/2", "1.5/2", "1/" + "9" * 5000]
)
def test_what_is_no_shard_is_refused(text):
    with pytest.raises(InputError, match="i/n with i from 1 to n is allowed, such as 2/8"):
        parse_shard(text)
