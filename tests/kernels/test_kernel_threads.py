"""Threads: how many, and that results do not depend on them."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
import twin
from kernel_cases import Batch, assert_same_bits, by_core, by_twin

from culnig import kernels
from culnig.errors import EnvironmentProblem, InputError


@pytest.fixture(scope="module")
def large_batch() -> Batch:
    """Large enough that seven threads get work in both phases."""
    random = np.random.default_rng(0)
    activation, gradient = random.standard_normal((2, 120, 26, 6000), dtype=np.float32)
    return Batch(
        activation,
        gradient,
        token_mask=random.random((120, 26)) < 0.8,
        weight=random.random(120),
        culture_index=random.integers(0, 3, 120),
        clamp=random.random(120) < 0.5,
        aggregator="max",
        dtype="float32",
    )


@pytest.fixture(scope="module")
def expected(large_batch: Batch) -> twin.Scored:
    return by_core(large_batch, threads=1)


@pytest.mark.parametrize("threads", [2, 7])
def test_results_do_not_depend_on_the_number_of_threads(
    large_batch: Batch, expected: twin.Scored, threads: int
) -> None:
    assert_same_bits(by_core(large_batch, threads), expected)


@pytest.mark.parametrize(("n_tokens", "n_neurons", "threads"), [(1100, 5000, 7), (40, 40_001, 1)])
def test_rows_cut_into_blocks_give_the_same(n_tokens: int, n_neurons: int, threads: int) -> None:
    """Neurons of one item are divided into blocks among threads, and where a row is long."""
    random = np.random.default_rng(2)
    activation, gradient = random.standard_normal((2, 1, n_tokens, n_neurons), dtype=np.float32)
    ones = np.ones(1)
    batch = Batch(
        activation,
        gradient,
        token_mask=random.random((1, n_tokens)) < 0.8,
        weight=ones,
        culture_index=ones.astype(int),
        clamp=ones < 0,
        aggregator="max",
        dtype="float32",
    )
    assert_same_bits(by_core(batch, threads), by_twin(batch))


def test_eight_python_threads_at_once(large_batch: Batch, expected: twin.Scored) -> None:
    with ThreadPoolExecutor(8) as pool:
        for scored in pool.map(lambda _: by_core(large_batch, 2), range(8)):
            assert_same_bits(scored, expected)


def test_top_k_from_eight_python_threads_at_once() -> None:
    scores = np.random.default_rng(1).normal(size=(8, 200_000))
    expected = kernels.top_k(scores, 1000, threads=1)
    with ThreadPoolExecutor(8) as pool:
        for scored in pool.map(lambda _: kernels.top_k(scores, 1000, threads=7), range(8)):
            np.testing.assert_array_equal(scored, expected)


def score_in_child(batch: Batch, results: Any) -> None:
    results.put(by_core(batch, 2).sums.tobytes())


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.skipif(sys.platform != "linux", reason="fork is for Linux")
def test_a_forked_process_can_score(large_batch: Batch, expected: twin.Scored) -> None:
    by_core(large_batch, 2)
    context = multiprocessing.get_context("fork")
    results = context.SimpleQueue()
    child = context.Process(target=score_in_child, args=(large_batch, results))
    child.start()
    scored = results.get()
    child.join()
    assert scored == expected.sums.tobytes()


def test_the_argument_comes_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CULNIG_THREADS", "3")
    assert kernels.thread_count(5) == 5
    assert kernels.thread_count() == 3


def test_torch_decides_where_nothing_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CULNIG_THREADS", raising=False)
    assert kernels.thread_count() == torch.get_num_threads()


@pytest.mark.parametrize("value", ["0", "-1", "many", "1.5"])
def test_a_senseless_environment_is_named(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("CULNIG_THREADS", value)
    with pytest.raises(EnvironmentProblem, match=f"CULNIG_THREADS is '{value}'"):
        kernels.thread_count()


def test_no_threads_are_refused() -> None:
    with pytest.raises(InputError, match="threads is 0"):
        kernels.thread_count(0)


def test_kernels_do_not_import_torch() -> None:
    code = "import sys, culnig.kernels as k; assert k.thread_count() >= 1; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
