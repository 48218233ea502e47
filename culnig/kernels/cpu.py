"""The compiled CPU kernels: on numpy arrays, and as the `cpu` backend on CPU tensors.

Arguments are checked first (culnig.kernels.arguments). The arithmetic (csrc/core/score.h) and the order of
additions are fixed: equal inputs give equal bits, whatever the number of threads. Views are read in place;
only an array whose rows are not contiguous is copied. Importing this does not import torch.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from culnig.errors import EnvironmentProblem, InputError, NonFiniteError
from culnig.kernels import arguments as checked
from culnig.kernels.arguments import AGGREGATORS, ScoreBatch, ScoreTables
from culnig.kernels.routing import Routing, routed_rows

if TYPE_CHECKING:
    import torch

    from culnig.kernels.base import TokenSums

try:
    from culnig import _core
except ModuleNotFoundError as error:  # any other ImportError is a broken build: let it surface
    raise ModuleNotFoundError(
        "culnig._core is missing: was the package built? In a checkout run `pip install -e .`, or "
        "the cmake lines at the top of CMakeLists.txt",
        name="culnig._core",
    ) from error

Array = NDArray[Any]

MOST_THREADS = 4096
"""Most threads that a call may ask for."""


def thread_count(threads: int | None = None) -> int:
    """Threads for a kernel: the argument, else CULNIG_THREADS, else torch's setting, else the CPUs."""
    if threads is not None:
        return checked.whole_number("threads", threads, 1, MOST_THREADS)
    asked = os.environ.get("CULNIG_THREADS", "").strip()
    if asked:
        if not asked.isdecimal() or len(asked) > 9 or not 1 <= int(asked) <= MOST_THREADS:
            raise EnvironmentProblem(
                f"CULNIG_THREADS is {asked!r}; set it to a whole number from 1 to {MOST_THREADS}, or unset it"
            )
        return int(asked)
    torch = sys.modules.get("torch")
    if torch is not None and hasattr(torch, "get_num_threads"):
        return int(torch.get_num_threads())
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def score_reduce(
    activation: Array,
    gradient: Array,
    batch: ScoreBatch,
    tables: ScoreTables,
    aggregator: str = "max",
    *,
    dtype: str | None = None,
    threads: int | None = None,
) -> None:
    """Score every neuron for every item of a batch and add the scores to culture sums (docs/method.md).

    `activation` and `gradient` are (item, token, neuron), float32 or float16, or uint16 with
    `dtype="bfloat16"`. InputError names a refused argument. NonFiniteError: NaN or infinity at a real token;
    then nothing was added, and `item_scores` and `peak_tokens` are undefined.
    """
    dtype_index = checked.dtype_index(activation, gradient, dtype)
    n_items, n_tokens, n_neurons = activation.shape
    tables = checked.score_tables(tables, n_items, n_neurons)
    _check_apart(tables, {"activation": activation, "gradient": gradient})
    non_finite = _core.score_reduce(
        checked.contiguous_rows(activation),
        checked.contiguous_rows(gradient),
        dtype_index,
        checked.one_of("aggregator", aggregator, AGGREGATORS),
        checked.score_batch(batch, n_items, n_tokens, _n_cultures(tables)),
        tables,
        thread_count(threads),
    )
    if non_finite is not None:
        raise NonFiniteError(*non_finite)


def routed_scores(
    activation: Array,
    gradient: Array,
    routing: Routing,
    tables: ScoreTables,
    aggregator: str = "max",
    *,
    dtype: str | None = None,
    threads: int | None = None,
) -> None:
    """Score every neuron of a layer's experts for every item of a batch.

    `activation` and `gradient` are (row, neuron of one expert), in the formats of `score_reduce`, and
    `routing` says which token of which item and expert a row is. Only `item_scores` and `peak_tokens` are
    written, both (item, expert · neuron). At tokens that an expert did not see the contributions of its
    neurons are zero: the result is that of `score_reduce` with zeros filled in, in every bit. InputError
    names a refused argument. NonFiniteError: NaN or infinity at a real token.
    """
    for name, array in (("activation", activation), ("gradient", gradient)):
        if checked.numpy_array(name, array).ndim != 2:
            raise InputError(f"{name} has shape {array.shape}; it must be (row, neuron)")
    dtype_index = checked.dtype_index(activation[np.newaxis], gradient[np.newaxis], dtype)
    rows = routed_rows(routing, len(activation))
    n_experts, n_items, _ = rows.unrouted.shape
    if tables.item_scores is None or tables.sums is not None:
        raise InputError("routed_scores writes item_scores and peak_tokens; give item_scores and no sums")
    tables = checked.score_tables(tables, n_items, n_experts * activation.shape[1])
    _check_apart(tables, {"activation": activation, "gradient": gradient})
    non_finite = _core.routed_scores(
        checked.contiguous_rows(activation),
        checked.contiguous_rows(gradient),
        dtype_index,
        checked.one_of("aggregator", aggregator, AGGREGATORS),
        rows,
        tables,
        thread_count(threads),
    )
    if non_finite is not None:
        raise NonFiniteError(*non_finite)


def add_scores(
    item_scores: NDArray[np.float32], batch: ScoreBatch, tables: ScoreTables, threads: int | None = None
) -> None:
    """Add item scores (item, neuron) to culture sums: the second half of `score_reduce`, equal in every bit.

    The batch's mask is not read, and only the tables of cultures are added to.
    """
    checked.numpy_array("item_scores", item_scores)
    if item_scores.ndim != 2 or item_scores.dtype != np.float32:
        raise InputError(
            f"item_scores is {item_scores.dtype} of shape {item_scores.shape}; float32 "
            "(item, neuron) is allowed"
        )
    if tables.sums is None:
        raise InputError("sums are missing; give float64 (culture, neuron)")
    n_items, n_neurons = item_scores.shape
    tables = checked.score_tables(replace(tables, item_scores=None, peak_tokens=None), n_items, n_neurons)
    _check_apart(tables, {"item_scores": item_scores})
    _core.add_scores(
        checked.score_batch(batch, n_items, None, _n_cultures(tables)),
        replace(tables, item_scores=checked.contiguous_rows(item_scores)),
        thread_count(threads),
    )


def _n_cultures(tables: ScoreTables) -> int | None:
    return None if tables.sums is None else len(tables.sums)


def _check_apart(tables: ScoreTables, read: Mapping[str, Array]) -> None:
    """InputError if a table shares memory with an array that is read."""
    for name in checked.TABLE_DTYPES:
        table: Any = getattr(tables, name)
        for pair in read.items() if table is not None else ():
            checked.apart((name, table), pair)


def top_k(
    scores: Array, k: int, excluded: ArrayLike | None = None, threads: int | None = None
) -> NDArray[np.int64]:
    """Indices of the k best of each row: higher first, ties to the lower index, NaN last.

    `scores` is (row, neuron) or (neuron,), float64 or float32; `excluded` (neuron,) or (row, neuron) bool is
    never chosen. Returns (row, k), or (k,) for one row; a row with fewer candidates ends in -1. InputError
    names a refused argument.
    """
    checked.numpy_array("scores", scores)
    if scores.dtype not in (np.float32, np.float64) or scores.ndim not in (1, 2):
        raise InputError(
            f"scores is {scores.dtype} of shape {scores.shape}; float64 or float32, (row, neuron) or "
            "(neuron,), is allowed"
        )
    rows = scores if scores.ndim == 2 else scores[np.newaxis]
    n_neurons = rows.shape[1]
    k = checked.whole_number("k", k, 0, n_neurons, ", the number of neurons,")
    barred = None if excluded is None else checked.excluded_neurons(excluded, rows.shape)
    n_threads = thread_count(threads)
    if k == 0 or len(rows) == 0:
        best = np.empty((len(rows), k), dtype=np.int64)
    else:
        wide = checked.contiguous_rows(rows.astype(np.float64, copy=False))
        best = _core.top_k(wide, k, barred, n_threads)
    return best if scores.ndim == 2 else best[0]


class Ranked(NamedTuple):
    """Neurons of one row and pool, best first."""

    indices: NDArray[np.int64]
    """Flat indices."""
    differences: NDArray[np.float64]
    """target − control of these neurons."""


def rank(
    target: NDArray[np.float64],
    control: NDArray[np.float64] | None = None,
    *,
    pools: Sequence[ArrayLike],
    counts: Sequence[int],
    exclusion: NDArray[np.float64] | None = None,
    exclusion_counts: Sequence[int] | None = None,
    threads: int | None = None,
) -> list[list[Ranked]]:
    """Rank the neurons of each pool by target − control and remove those that the exclusion marks.

    `target` is (row, neuron) float64, `control` and `exclusion` too, or (1, neuron) for all rows alike; no
    control counts as zero. A pool is an array of flat indices. In each row and pool p the `counts[p]` best by
    target − control are kept, then those among the `exclusion_counts[p]` best of the same pool by exclusion
    score are removed; the gap is not refilled (docs/method.md). The order is that of `top_k`.

    Returns `result[row][pool]`, neurons in rank order. InputError names a refused argument.
    """
    if (exclusion is None) != (exclusion_counts is None):
        raise InputError("exclusion and exclusion_counts go together; give both or neither")
    target = checked.rank_scores("target", target)
    runs = [checked.pool_runs(i, pool, target.shape[1]) for i, pool in enumerate(pools)]
    widths = [int(pool[:, 1].sum()) for pool in runs]
    checked.bounded_rank(len(target), widths)
    zero = np.zeros((1, target.shape[1]))
    flat = _core.rank(
        target,
        checked.rank_scores("control", zero if control is None else control, target.shape),
        None if exclusion is None else checked.rank_scores("exclusion", exclusion, target.shape),
        runs,
        checked.pool_counts("counts", counts, widths),
        checked.pool_counts(
            "exclusion_counts", [0] * len(widths) if exclusion_counts is None else exclusion_counts, widths
        ),
        thread_count(threads),
    )
    ranked = iter(flat)
    return [[Ranked(*next(ranked)) for _ in runs] for _ in range(target.shape[0])]


class CpuBackend:
    """The compiled kernels on the memory of CPU tensors; nothing is copied."""

    name = "cpu"

    def tables_device(self, device: torch.device) -> torch.device:
        """See `Backend.tables_device`."""
        return device

    def score_items(
        self,
        activation: torch.Tensor,
        gradient: torch.Tensor,
        token_mask: torch.Tensor,
        tables: ScoreTables,
        status: torch.Tensor,
        aggregator: str = "max",
    ) -> None:
        """See `Backend.score_items`."""
        try:
            self.score_reduce(activation, gradient, ScoreBatch(token_mask), tables, aggregator)
        except NonFiniteError:
            from culnig.kernels.status import note_non_finite

            note_non_finite(activation, gradient, token_mask, status)

    def routed_items(
        self,
        activation: torch.Tensor,
        gradient: torch.Tensor,
        routing: Routing,
        tables: ScoreTables,
        status: torch.Tensor,
        aggregator: str = "max",
    ) -> None:
        """See `Backend.routed_items`."""
        from culnig.kernels.base import dtype_index, token_view

        dtype = checked.DTYPES[dtype_index(activation[None], gradient[None])]
        pair = token_view(activation), token_view(gradient)
        try:
            routed_scores(*pair, routing, tables, aggregator, dtype=dtype)
        except NonFiniteError:
            from culnig.kernels.status import note_routed_non_finite

            note_routed_non_finite(activation, gradient, routing, status)

    def addition(
        self, item_scores: torch.Tensor, batch: ScoreBatch, tables: ScoreTables
    ) -> Callable[[], None]:
        """See `Backend.addition`."""
        return functools.partial(add_scores, item_scores.numpy(), batch, tables)

    def score_reduce(
        self,
        activation: torch.Tensor,
        gradient: torch.Tensor,
        batch: ScoreBatch,
        tables: ScoreTables,
        aggregator: str = "max",
    ) -> None:
        """See `Backend.score_reduce`."""
        from culnig.kernels.base import dtype_index, token_view

        dtype = checked.DTYPES[dtype_index(activation, gradient)]
        score_reduce(token_view(activation), token_view(gradient), batch, tables, aggregator, dtype=dtype)

    def token_sums(
        self, activation: torch.Tensor, gradient: torch.Tensor, token_mask: checked.Values
    ) -> TokenSums:
        """See `Backend.token_sums`."""
        from culnig.kernels.base import TokenSums, dtype_index, token_view

        dtype = dtype_index(activation, gradient)
        n_items, n_tokens, _ = activation.shape
        mask = checked.real_tokens(token_mask, (n_items, n_tokens))
        sums = TokenSums.empty_for(activation)
        views = [checked.contiguous_rows(token_view(each)) for each in (activation, gradient)]
        _core.token_sums(views[0], views[1], dtype, mask, sums, thread_count())
        return sums
