"""Arrays and numbers that no caller means to give: the right result or an InputError, never a crash.

Whatever could bring the process down runs in a forked child.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import twin
from numpy.lib.stride_tricks import as_strided

from culnig import kernels
from culnig.errors import EnvironmentProblem, InputError
from culnig.kernels import ScoreBatch, ScoreTables
from culnig.kernels.cpu import MOST_THREADS, CpuBackend
from culnig.kernels.cuda import _device_tables
from tests.forked import in_child

TEN = np.arange(10.0)[np.newaxis]
RANDOM = np.random.default_rng(0)


def misaligned(values: np.ndarray[Any, Any], offset: int = 1) -> np.ndarray[Any, Any]:
    """The values in memory that begins at an odd address."""
    memory = np.zeros(values.nbytes + offset, dtype=np.uint8)
    array: np.ndarray[Any, Any] = np.ndarray(values.shape, values.dtype, memory.data, offset)
    array[...] = values
    assert not array.flags.aligned
    return array


def rank(**changes: Any) -> Any:
    given: dict[str, Any] = {"target": TEN, "pools": [[0, 1]], "counts": [1]}
    return kernels.rank(**(given | changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pools": [np.array([0, 2**64 - 1], np.uint64)]}, f"from 0 to {2**64 - 1}; from 0 to 9"),
        ({"pools": [np.array([2**63], np.uint64)]}, f"from {2**63} to {2**63}; from 0 to 9"),
        ({"pools": [np.array([-(2**63), 2**63 - 1])]}, f"from {-(2**63)} to {2**63 - 1}"),
        ({"pools": [[2**70]]}, r"pools\[0\] is object"),
        ({"pools": [np.array([np.nan, 1])]}, r"pools\[0\] is float64"),
        ({"pools": [np.ones(10, bool)]}, r"pools\[0\] is bool"),
        ({"pools": [[[1], [2, 3]]]}, r"pools\[0\] is \[\[1\], \[2, 3\]\]"),
        ({"pools": [np.empty((0, 3))]}, r"pools\[0\] is float64 of shape \(0, 3\)"),
        ({"counts": [-1]}, r"counts\[0\] is -1; a whole number from 0 to 2, the size of the pool, is"),
        ({"counts": [1.5]}, r"counts\[0\] is 1.5"),
        ({"counts": [np.nan]}, r"counts\[0\] is nan"),
        ({"counts": [None]}, r"counts\[0\] is None"),
        ({"counts": [True]}, r"counts\[0\] is True"),
        ({"counts": ["1"]}, r"counts\[0\] is '1'"),
        ({"counts": [2**64]}, rf"counts\[0\] is {2**64}"),
        ({"target": [[1.0, 2.0]]}, "target is a list; a numpy array without a mask"),
        ({"target": TEN.astype(">f8")}, "target is >f8"),
        ({"target": np.ma.array(TEN)}, "target is a MaskedArray"),
        ({"threads": 0}, "threads is 0"),
        ({"threads": 10**9}, f"threads is {10**9}; a whole number from 1 to {MOST_THREADS}"),
        ({"threads": 2**70}, "threads is"),
        ({"threads": 1.5}, "threads is 1.5"),
        ({"threads": "4"}, "threads is '4'"),
    ],
)
def test_rank_names_the_argument(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        rank(**changes)


@pytest.mark.parametrize("rows", [2**59 - 1, 2**59, 2**59 + 1])
def test_rows_times_pools_beyond_int64_are_refused(rows: int) -> None:
    """32 pools of 2^59 + 1 rows are 32 tasks modulo 2^64."""

    def work() -> None:
        with pytest.raises(InputError, match="rank fewer rows at a time"):
            rank(target=np.broadcast_to(np.zeros(1), (rows, 1)), pools=[[0]] * 32, counts=[1] * 32)

    in_child(work)


@pytest.mark.parametrize("k", [-1, 11, 2**64, 1.5, np.nan, np.inf, None, "1", True])
def test_top_k_names_a_wrong_k(k: Any) -> None:
    with pytest.raises(InputError, match=r"k is .*; a whole number from 0 to 10, the number of neurons,"):
        kernels.top_k(TEN, k)


def test_nothing_chosen_from_many_rows_takes_no_time() -> None:
    for rows in (np.zeros((2**40, 0)), np.broadcast_to(np.zeros(1), (2**40, 1))):
        best = in_child(functools.partial(lambda rows: kernels.top_k(rows, 0).shape, rows), seconds=20)
        assert best == (2**40, 0)


@pytest.mark.parametrize("asked", ["0", "-1", "1000000000", "9" * 30, "x", "1.5", "²"])
def test_an_absurd_number_of_threads_in_the_environment_is_named(
    asked: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CULNIG_THREADS", asked)
    with pytest.raises(EnvironmentProblem, match=f"CULNIG_THREADS is {asked!r}; set it to a whole number"):
        kernels.top_k(TEN, 3)


def test_the_most_threads_give_the_same_result() -> None:
    scores = RANDOM.standard_normal((64, 5000))
    best = in_child(lambda: kernels.top_k(scores, 3, threads=MOST_THREADS).tolist())
    assert best == [twin.top_k(row, 3, np.zeros(5000, dtype=bool)).tolist() for row in scores]


VIEWS: dict[str, Callable[[Any], Any]] = {
    "misaligned by 1": misaligned,
    "misaligned by half": lambda a: misaligned(a, a.itemsize // 2),
    "reversed": lambda a: np.ascontiguousarray(a[..., ::-1])[..., ::-1],
    "every second": lambda a: np.repeat(a, 2, axis=-1)[..., ::2],
    "reversed rows": lambda a: np.ascontiguousarray(a[::-1])[::-1],
    "Fortran": np.asfortranarray,
    "read-only": lambda a: np.frombuffer(a.tobytes(), a.dtype).reshape(a.shape),
}


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("n_neurons", [1, 40])
def test_inputs_in_any_memory_rank_alike(view: str, n_neurons: int) -> None:
    target, control, exclusion = RANDOM.standard_normal((3, 2, n_neurons))
    pool, count = np.arange(n_neurons), min(5, n_neurons)

    def work() -> Any:
        change = VIEWS[view]
        best = kernels.top_k(change(target), count)
        ranked = kernels.rank(
            change(target),
            change(control),
            pools=[misaligned(pool)],
            counts=[count],
            exclusion=change(exclusion),
            exclusion_counts=[1],
        )
        return best.tolist(), [row[0].indices.tolist() for row in ranked]

    expected = (
        [twin.top_k(row, count, np.zeros(n_neurons, dtype=bool)).tolist() for row in target],
        [
            twin.rank(target[row], control[row], exclusion[row], pool, count, 1)[0].tolist()
            for row in range(2)
        ],
    )
    assert in_child(work) == expected


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_inputs_in_any_memory_score_alike(view: str, dtype: str) -> None:
    activation, gradient = RANDOM.standard_normal((2, 3, 4, 70)).astype(dtype)
    mask = np.ones((3, 4), dtype=bool)

    def work() -> Any:
        change, sums, scores = VIEWS[view], np.zeros((2, 70)), np.zeros((3, 70), np.float32)
        batch = ScoreBatch(mask, [1.0, 0.5, 0.25], [0, 1, 1])
        kernels.score_reduce(change(activation), change(gradient), batch, ScoreTables(sums))
        kernels.score_reduce(activation, gradient, batch, ScoreTables(item_scores=scores))
        added = np.zeros((2, 70))
        kernels.add_scores(change(scores), batch, ScoreTables(added))
        tensor = torch.from_numpy(change(activation).copy())
        magnitude = CpuBackend().token_sums(tensor, tensor, mask).magnitude.numpy()
        return sums, added, magnitude

    expected = twin.score_reduce(
        activation, gradient, mask, np.array([1.0, 0.5, 0.25]), np.array([0, 1, 1]), 2, "max", np.zeros(3)
    ).sums
    sums, added, magnitude = in_child(work)
    np.testing.assert_array_equal(sums, expected)
    np.testing.assert_array_equal(added, expected)
    np.testing.assert_array_equal(magnitude, twin.token_sums(activation, activation, mask)[0])


def reduce_into(tables: ScoreTables, activation: Any = None, weight: Any = (0.5, 0.5)) -> None:
    activation = np.ones((2, 3, 4), np.float32) if activation is None else activation
    batch = ScoreBatch(np.ones((2, 3), dtype=bool), weight, [0, 1])
    kernels.score_reduce(activation, np.ones((2, 3, 4), np.float32), batch, tables)


def test_one_array_given_twice_is_refused() -> None:
    sums, memory = np.zeros((2, 4)), np.zeros((3, 4))
    numbers = np.zeros((2, 4), np.float32)
    pairs = [
        (ScoreTables(sums, sums), "sums and sums_of_squares"),
        (ScoreTables(memory[:2], memory[1:]), "sums and sums_of_squares"),
        (ScoreTables(item_scores=numbers, peak_tokens=numbers.view(np.int32)), "item_scores and peak_tokens"),
    ]
    for tables, names in pairs:
        with pytest.raises(InputError, match=f"{names} share memory; give each its own array"):
            reduce_into(tables)
    activation = np.ones((2, 3, 4), np.float32)
    with pytest.raises(InputError, match="item_scores and activation share memory"):
        reduce_into(ScoreTables(item_scores=activation[:, 0]), activation)
    table = np.zeros((2, 8), np.float32)
    with pytest.raises(InputError, match="sums and item_scores share memory"):
        kernels.add_scores(
            table[:, :4], ScoreBatch(None, [1, 1], [0, 1]), ScoreTables(table.view(np.float64))
        )


def test_columns_of_one_wider_table_and_inputs_given_twice_are_allowed() -> None:
    wide = np.zeros((2, 8))
    reduce_into(ScoreTables(wide[:, :4], wide[:, 4:]))
    np.testing.assert_array_equal(wide, [[0.5] * 4 + [0.25] * 4] * 2)
    same = np.full((1, 1, 4), 3, np.float32)
    sums = np.zeros((1, 4))
    kernels.score_reduce(same, same, ScoreBatch(np.ones((1, 1), bool), [1], [0]), ScoreTables(sums))
    np.testing.assert_array_equal(sums, [[9.0] * 4])


def test_weights_in_the_memory_of_the_sums_are_read_before_the_sums_change() -> None:
    memory = np.ones(8)
    reduce_into(ScoreTables(memory.reshape(2, 4)), weight=memory[:2])
    np.testing.assert_array_equal(memory, np.full(8, 2.0))


@pytest.mark.parametrize(
    "table",
    [
        as_strided(np.zeros((2, 4)), (2, 4), (0, 8)),
        as_strided(np.zeros(20), (2, 4), (8, 8)),
        misaligned(np.zeros((2, 4))),
        np.broadcast_to(np.zeros(4), (2, 4)),
    ],
    ids=["one row", "overlapping rows", "misaligned", "read-only"],
)
def test_a_table_that_cannot_be_written_row_by_row_is_refused(table: Any) -> None:
    with pytest.raises(InputError, match=r"writeable and aligned, .* each row in its own memory"):
        reduce_into(ScoreTables(table))


@pytest.mark.parametrize(
    ("weight", "message"),
    [([1j, 0], "weight is complex128"), (["a", "b"], "weight is <U1"), ([True, False], "weight is bool")],
)
def test_weights_that_are_not_numbers_are_refused(weight: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        reduce_into(ScoreTables(np.zeros((2, 4))), weight=weight)


def test_more_tokens_than_a_peak_can_name_are_refused() -> None:
    many = np.broadcast_to(np.float32(1), (1, 2**31, 1))
    with pytest.raises(InputError, match=f"{2**31} tokens; at most {2**31 - 1}"):
        kernels.score_reduce(many, many, ScoreBatch(), ScoreTables())


def test_tables_on_a_device_must_be_apart_too() -> None:
    """The check reads addresses and strides only, so the host stands for a device."""
    host, wide, counts = torch.device("cpu"), torch.zeros(2, 8, dtype=torch.float64), torch.zeros(2, 4)
    columns = ScoreTables(wide[:, :4], wide[:, 4:], counts.to(torch.uint32))
    assert list(_device_tables(columns, host, 4)) == ["sums", "sums_of_squares", "positive_counts"]
    rows = torch.zeros(3, 4, dtype=torch.float64)
    for first, second in ((wide[:, :4], wide[:, 3:7]), (rows[:2], rows[1:]), (rows[:2], rows[:2])):
        with pytest.raises(InputError, match="sums_of_squares and sums share memory"):
            _device_tables(ScoreTables(first, second), host, 4)
    with pytest.raises(InputError, match="with contiguous rows is needed"):
        _device_tables(ScoreTables(rows[:1].expand(2, 4)), host, 4)
