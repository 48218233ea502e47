"""Commands whose model is spread over processes: what one process writes, and what happens when one dies."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest
import transformers.distributed.fsdp  # noqa: F401 - once, and not in every process again

from culnig.cli.main import run
from culnig.store.run import Run
from tests.forked import import_what
from tests.forked_commands import forked, rank, ranks
from tests.ports import free_port
from tests.spread import launcher, saved
from tests.stored import assert_same, contents, leftovers
from tests.tiny_models import tiny_model

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return saved(tiny_model(), tmp_path_factory.mktemp("model"))


def score(model, folder, *more):
    """A run of many small portions."""
    benchmarks = ("--benchmark", "everyday", "--benchmark", "everyday-control", "--per-culture", "2")
    words = ["score", "--model", model, *benchmarks, "--token-budget", "300", "-o", folder, *more]
    return [str(word) for word in words]


def command(arguments):
    """One process's exit code and output."""
    return forked(arguments).wait()


def selected(run, folder):
    """A file with some neurons of a run."""
    neurons = folder / "general.neurons.json"
    done = command(["select", "general", run, "-o", neurons, "--no-exclusion", "--top-mlp", 0.1])
    assert done.code == 0, done.err
    return neurons


@pytest.fixture(scope="module")
def alone(model, tmp_path_factory):
    """A run of one process; what it imports, the others have."""
    folder = tmp_path_factory.mktemp("alone") / "run"
    assert import_what(lambda: run(score(model, folder))) == 0
    return folder


@pytest.fixture(scope="module")
def two(model, alone, tmp_path_factory):
    """A run of two processes, and what they printed."""
    folder = tmp_path_factory.mktemp("two") / "run"
    return folder, ranks(2, score(model, folder, "--fsdp"))


def test_two_processes_end_with_the_run_of_one_and_report_once(two, alone):
    folder, (first, second) = two
    assert (first.code, second.code) == (0, 0), first.err + second.err
    spread, alone = Run(folder), Run(alone)
    assert spread.record["model"] == alone.record["model"]
    assert spread.record["check"]["performed"]
    for name in ("everyday", "everyday-control"):
        one, other = spread.moments(name), alone.moments(name)
        np.testing.assert_allclose(one.sum, other.sum, rtol=1e-12)
        np.testing.assert_array_equal(one.positive_count, other.positive_count)
        np.testing.assert_array_equal(spread.outcomes(name).p_gold, alone.outcomes(name).p_gold)
    assert leftovers(folder) == []
    assert first.out.count("Run ") == 1
    assert second.out + second.err == ""


def test_a_process_that_is_killed_leaves_a_run_that_another_number_finishes(model, two, tmp_path):
    folder, port = tmp_path / "run", free_port()
    children = [rank(number, 3, port, score(model, folder, "--fsdp")) for number in range(3)]
    until = time.monotonic() + 120
    while len(list(folder.glob("parts/*.h5"))) < 2:
        assert time.monotonic() < until, "the processes never came this far"
        assert not children[0].ended(), children[0].wait()
        time.sleep(0.005)
    children[1].kill()
    first, killed, third = [child.wait() for child in children]
    assert killed is None
    for ended in (first, third):
        assert ended.code == 3
        assert "Traceback" not in ended.err
        assert "error" not in ended.err
    assert not (folder / "scores.h5").exists(), "the run was over before the kill; give it more items"
    assert [done.code for done in ranks(2, score(model, folder, "--fsdp", "--resume"))] == [0, 0]
    assert_same(contents(folder), contents(two[0]))
    assert leftovers(folder) == []


def test_an_evaluation_has_the_answers_of_one_process(model, two, tmp_path):
    neurons = selected(two[0], tmp_path)

    def evaluate(folder, *more):
        words = ["evaluate", "--model", model, "--benchmark", "everyday", "--per-culture", "1"]
        conditions = ["--neurons", neurons, "--random-baseline", 1, "--no-prefix-sharing"]
        return [*words, *conditions, "-o", folder, *more]

    assert command(evaluate(tmp_path / "alone")).code == 0
    first, second = ranks(2, evaluate(tmp_path / "spread", "--fsdp"))
    assert (first.code, second.code) == (0, 0), first.err + second.err
    spread, alone = (
        json.loads((tmp_path / name / "results.json").read_text())["rows"] for name in ("spread", "alone")
    )
    keys = ("benchmark", "condition", "factor", "n", "accuracy", "option_accuracy")
    for row, expected in zip(spread, alone, strict=True):
        assert [row[key] for key in keys] == [expected[key] for key in keys]
        assert row["p_gold"] == pytest.approx(expected["p_gold"], rel=1e-6)
    assert second.out + second.err == ""


def test_instances_audit_and_verify_have_the_numbers_of_one_process(model, two, tmp_path):
    neurons = selected(two[0], tmp_path)
    items = ["--model", model, "--benchmark", "everyday", "--per-culture", 1, "--json"]
    commands = {
        "instances": ["instances", *items, "--neurons", neurons, "--no-control", "-o"],
        "audit": ["audit", neurons, *items, "--top", 2],
        "verify": ["verify", "--model", model, "--json"],
    }
    for name, words in commands.items():
        outputs = [tmp_path / "alone.h5", tmp_path / "spread.h5"] if words[-1] == "-o" else [None, None]
        alone, spread = ([*words, *([out] if out else [])] for out in outputs)
        expected, (first, second) = command(alone), ranks(2, [*spread, "--fsdp"])
        assert (expected.code, first.code, second.code) == (0, 0, 0), (name, first.err + second.err)
        if name == "verify":  # its details are rounding errors
            verdicts = [json.loads(own.out)["checks"] for own in (first, expected)]
            for own, other in zip(*verdicts, strict=True):
                assert (own["check"], own["passed"]) == (other["check"], other["passed"])
        else:
            assert first.out.replace("spread.h5", "alone.h5") == expected.out
        assert second.out + second.err == ""


def test_more_processes_than_items_are_refused_once(model, tmp_path):
    arguments = ["score", "--model", model, "--benchmark", "everyday", "--limit", 1]
    printed = ranks(2, [*arguments, "--no-check", "-o", tmp_path / "run", "--fsdp"])
    assert [own.code for own in printed] == [2, 2]
    assert sorted(own.err.count("2 processes share 1 items") for own in printed) == [0, 1]
    assert not (tmp_path / "run").exists()


def test_two_nodes_of_two_processes_end_with_the_same_run(model, two, tmp_path):
    """Two launchers that find each other over the network, as on two machines."""
    port = free_port()
    words = score(model, tmp_path / "run", "--fsdp")
    nodes = [launcher(2, 2, port, words) for _ in range(2)]
    printed = [node.wait(240) for node in nodes]
    codes = [code for own in printed for code in own.code.values()]
    assert codes == [0] * 4, printed[0].err + printed[1].err
    assert_same(contents(tmp_path / "run"), contents(two[0]))
