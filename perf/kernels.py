"""Speed of the compiled kernels, each as a ratio to something measured in the same minute.

    python perf/kernels.py [--rounds 7] [--small]

Prints one table. The two sides of a ratio take turns, so that other work on the machine meets both; a ratio
is the median over the rounds of the two times of one round, after a warm-up. Working sets are 1 GB (bfloat16
and float16: half of it), far beyond any cache; `--small` is a quick look at 64 MB. Threads: CULNIG_THREADS,
or torch's own setting, for both sides.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from culnig import kernels
from culnig.backends import choose_backend

N_CULTURES = 16

Run = Callable[[], object]


class Ratio(NamedTuple):
    """One line of the table."""

    what: str
    against: str
    value: float
    target: float
    seconds: float
    gigabytes: float


def compare(rounds: int, ours: Run, other: Run) -> tuple[float, float]:
    """How many times as long the other takes, and our seconds; medians, the two in turns."""
    ratios, seconds = [], []
    for measured in range(rounds + 1):
        ours_took, other_took = seconds_of(ours), seconds_of(other)
        if measured:  # the first round warms up
            ratios.append(other_took / ours_took)
            seconds.append(ours_took)
    return statistics.median(ratios), statistics.median(seconds)


def seconds_of(run: Run) -> float:
    """Seconds that one run takes."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


class Batch:
    """A batch as a model of 16,384 gate neurons gives it."""

    def __init__(self, n_items: int, n_tokens: int = 128, n_neurons: int = 16_384) -> None:
        random = np.random.default_rng(0)
        shape = (n_items, n_tokens, n_neurons)
        self.activation = torch.from_numpy(random.standard_normal(shape, dtype=np.float32))
        self.gradient = torch.from_numpy(random.standard_normal(shape, dtype=np.float32))
        self.token_mask = torch.ones(shape[:2], dtype=torch.bool)
        self.confidence = torch.from_numpy(random.random(n_items))
        self.culture_index = torch.from_numpy(np.sort(random.integers(0, N_CULTURES, n_items)))
        self.sums = torch.zeros(N_CULTURES, n_neurons, dtype=torch.float64)
        self.sums_of_squares = torch.zeros_like(self.sums)
        self.positive_counts = torch.zeros(self.sums.shape, dtype=torch.uint32)
        self.item_scores = torch.empty(n_items, n_neurons)
        self.peak_tokens = torch.empty(n_items, n_neurons, dtype=torch.int32)
        self.gigabytes = 2 * self.activation.nbytes / 1e9

    def kernel(self, dtype: torch.dtype = torch.float32, **options: Any) -> Run:
        """score_reduce on this batch, in another format where asked."""
        backend = choose_backend("cpu")
        activation, gradient = self.activation.to(dtype), self.gradient.to(dtype)
        return lambda: backend.score_reduce(
            activation,
            gradient,
            self.token_mask,
            self.confidence,
            self.culture_index,
            sums=self.sums,
            **options,
        )

    def token_sums(self) -> None:
        """Sums over the tokens, one read."""
        choose_backend("cpu").token_sums(self.activation, self.gradient, self.token_mask)

    def everything(self) -> dict[str, torch.Tensor]:
        """Every output there is."""
        return {
            "sums_of_squares": self.sums_of_squares,
            "positive_counts": self.positive_counts,
            "item_scores": self.item_scores,
            "peak_tokens": self.peak_tokens,
        }

    def read(self) -> None:
        """Read both arrays once and do as little as possible."""
        self.activation.sum()
        self.gradient.sum()

    def eager(self) -> None:
        """The same scores and sums as one writes them in torch."""
        contribution = self.activation * self.gradient
        contribution.masked_fill_(~self.token_mask[..., None], -torch.inf)
        score = contribution.amax(1).double() * self.confidence[:, None]
        self.sums.index_add_(0, self.culture_index, score)


def score_ratios(n_items: int, rounds: int) -> list[Ratio]:
    """The kernels of scores against memory, against eager torch, and formats against each other."""
    batch = Batch(n_items)
    kernel, size = batch.kernel(), batch.gigabytes
    against_memory = {
        "score_reduce float32": kernel,
        "score_reduce, every output": batch.kernel(**batch.everything()),
        "score_reduce absmax": batch.kernel(aggregator="absmax"),
        "score_reduce sum": batch.kernel(aggregator="sum"),
        "token_sums": batch.token_sums,
    }
    rows = []
    for name, run in against_memory.items():
        ratio, seconds = compare(rounds, run, batch.read)
        rows.append(Ratio(name, "reading both arrays", ratio, 0.8, seconds, size))
    ratio, seconds = compare(rounds, kernel, batch.eager)
    rows.append(Ratio("score_reduce float32", "eager torch", ratio, 4.0, seconds, size))
    for dtype, target in ((torch.bfloat16, 1.6), (torch.float16, 1.0)):
        ratio, seconds = compare(rounds, batch.kernel(dtype), kernel)
        name = f"score_reduce {str(dtype).removeprefix('torch.')}"
        rows.append(Ratio(name, "float32, items/s", ratio, target, seconds, size / 2))
    return rows


def sorted_partition(scores: NDArray[np.float64], k: int) -> NDArray[np.int64]:
    """The k best of each row in numpy: argpartition, then a sort of those k."""
    n = scores.shape[1]
    best = np.empty((len(scores), k), dtype=np.int64)
    for row, out in zip(scores, best, strict=True):
        chosen = np.argpartition(row, n - k)[n - k :]
        out[:] = chosen[np.argsort(-row[chosen], kind="stable")]
    return best


def top_k_ratios(n_neurons: int, rounds: int) -> list[Ratio]:
    """top_k and rank over 16 rows, against numpy."""
    target, control = np.random.default_rng(0).standard_normal((2, N_CULTURES, n_neurons))
    size = target.nbytes / 1e9
    few, many = int(0.003 * n_neurons), int(0.01 * n_neurons)
    whole = [[(0, n_neurons)]]
    rows = []
    for k in (few, many):
        ours = partial(kernels.top_k, target, k)
        ratio, seconds = compare(rounds, ours, partial(sorted_partition, target, k))
        name = f"top_k, {k:,} of {N_CULTURES} × {n_neurons:,}"
        rows.append(Ratio(name, "argpartition + sort", ratio, 3.0, seconds, size))
    ours = partial(kernels.rank, target, control, pools=whole, counts=[many])
    ratio, seconds = compare(rounds, ours, lambda: sorted_partition(target - control, many))
    name = f"rank, {many:,} of {N_CULTURES} × {n_neurons:,}"
    rows.append(Ratio(name, "argpartition + sort", ratio, 3.0, seconds, 2 * size))
    return rows


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description="Speed of the compiled kernels, as ratios.")
    parser.add_argument("--rounds", type=int, default=7, help="measurements per median")
    parser.add_argument("--small", action="store_true", help="64 MB in place of 1 GB")
    options = parser.parse_args()
    torch.set_num_threads(kernels.thread_count())
    ratios = score_ratios(4 if options.small else 64, options.rounds)
    ratios += top_k_ratios(100_000 if options.small else 2_000_000, options.rounds)

    table = Table(title=f"{kernels.thread_count()} threads, medians of {options.rounds}")
    table.add_column("what", no_wrap=True)
    for heading in ("against", "ratio", "target", "", "ms", "GB/s"):
        table.add_column(heading, justify="left" if heading in ("against", "") else "right")
    for row in ratios:
        verdict = "met" if row.value >= row.target else f"{1 - row.value / row.target:.0%} short"
        table.add_row(
            row.what,
            row.against,
            f"{row.value:.2f}",
            f"{row.target:.1f}",
            verdict,
            f"{row.seconds * 1e3:.1f}",
            f"{row.gigabytes / row.seconds:.1f}",
        )
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
