"""Speed of the compiled kernels, each as a ratio to something measured in the same minute.

    python perf/kernels.py [--rounds 7] [--small]

Prints one table. The two sides of a ratio alternate, so that other work on the machine affects both; a ratio
is the median over the rounds of the quotient of the two times of one round, after a warm-up. Working sets are
1 GB (bfloat16 and float16: half of that), far beyond any cache; `--small` uses 64 MB. Threads of both sides:
CULNIG_THREADS, or torch's own setting.
"""

from __future__ import annotations

import argparse
import statistics
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from measuring import Row, Work, in_turns, show, speed_row
from numpy.typing import NDArray

from culnig import kernels
from culnig.kernels.choice import choose_backend

N_CULTURES = 16


def compare(rounds: int, ours: Work, other: Work, gigabytes: float, **labels: Any) -> Row:
    """Time of the other over ours, the two alternating."""
    took, reference = in_turns(rounds, ours, other)
    row = speed_row(took, reference, section="kernels", **labels)
    return replace(row, notes={"GB/s": round(gigabytes / statistics.median(took), 1)})


class Batch:
    """A batch of a module with 16,384 neurons."""

    def __init__(self, n_items: int, n_tokens: int = 128, n_neurons: int = 16_384) -> None:
        random = np.random.default_rng(0)
        shape = (n_items, n_tokens, n_neurons)
        self.activation = torch.from_numpy(random.standard_normal(shape, dtype=np.float32))
        self.gradient = torch.from_numpy(random.standard_normal(shape, dtype=np.float32))
        self.token_mask = torch.ones(shape[:2], dtype=torch.bool)
        self.p_gold = torch.from_numpy(random.random(n_items))
        self.culture_index = torch.from_numpy(np.sort(random.integers(0, N_CULTURES, n_items)))
        self.items = kernels.ScoreBatch(self.token_mask, self.p_gold, self.culture_index)
        self.sums = torch.zeros(N_CULTURES, n_neurons, dtype=torch.float64)
        self.only_sums = kernels.ScoreTables(self.sums)
        self.all_tables = kernels.ScoreTables(
            self.sums,
            torch.zeros_like(self.sums),
            torch.zeros(self.sums.shape, dtype=torch.uint32),
            torch.empty(n_items, n_neurons),
            torch.empty(n_items, n_neurons, dtype=torch.int32),
        )
        self.gigabytes = 2 * self.activation.nbytes / 1e9

    def kernel(
        self,
        dtype: torch.dtype = torch.float32,
        aggregator: str = "max",
        tables: kernels.ScoreTables | None = None,
    ) -> Work:
        """score_reduce on this batch, in another number format where asked."""
        backend = choose_backend("cpu")
        activation, gradient = self.activation.to(dtype), self.gradient.to(dtype)
        tables = tables or self.only_sums
        return lambda: backend.score_reduce(activation, gradient, self.items, tables, aggregator)

    def token_sums(self) -> None:
        """Sums over the tokens, one read."""
        choose_backend("cpu").token_sums(self.activation, self.gradient, self.token_mask)

    def read(self) -> None:
        """Read both arrays once and compute as little as possible."""
        self.activation.sum()
        self.gradient.sum()

    def eager(self) -> None:
        """The same scores and sums, written in torch the usual way."""
        contribution = self.activation * self.gradient
        contribution.masked_fill_(~self.token_mask[..., None], -torch.inf)
        score = contribution.amax(1).double() * self.p_gold[:, None]
        self.sums.index_add_(0, self.culture_index, score)


def score_rows(n_items: int, rounds: int) -> list[Row]:
    """The kernels of scores against memory, against eager torch, and formats against each other."""
    batch = Batch(n_items)
    kernel, size = batch.kernel(), batch.gigabytes
    against_memory = {
        "score_reduce float32": kernel,
        "score_reduce, every output": batch.kernel(tables=batch.all_tables),
        "score_reduce absmax": batch.kernel(aggregator="absmax"),
        "score_reduce sum": batch.kernel(aggregator="sum"),
        "token_sums": batch.token_sums,
    }
    made = [
        compare(rounds, run, batch.read, size, what=name, against="reading both arrays", target=">= 0.8")
        for name, run in against_memory.items()
    ]
    what = "score_reduce float32"
    made.append(compare(rounds, kernel, batch.eager, size, what=what, against="eager torch", target=">= 4.0"))
    for dtype, target in ((torch.bfloat16, ">= 1.6"), (torch.float16, ">= 1.0")):
        what = f"score_reduce {str(dtype).removeprefix('torch.')}"
        narrow = batch.kernel(dtype)
        made.append(
            compare(rounds, narrow, kernel, size / 2, what=what, against="float32, items/s", target=target)
        )
    return made


def sorted_partition(scores: NDArray[np.float64], k: int) -> NDArray[np.int64]:
    """The k best of each row in numpy: argpartition, then a sort of those k."""
    n = scores.shape[1]
    best = np.empty((len(scores), k), dtype=np.int64)
    for row, out in zip(scores, best, strict=True):
        chosen = np.argpartition(row, n - k)[n - k :]
        out[:] = chosen[np.argsort(-row[chosen], kind="stable")]
    return best


def top_k_rows(n_neurons: int, rounds: int) -> list[Row]:
    """top_k and rank over 16 rows, against numpy."""
    target, control = np.random.default_rng(0).standard_normal((2, N_CULTURES, n_neurons))
    size = target.nbytes / 1e9
    few, many = int(0.003 * n_neurons), int(0.01 * n_neurons)
    whole = [np.arange(n_neurons)]
    against, made = "argpartition + sort", []
    for k in (few, many):
        ours, other = partial(kernels.top_k, target, k), partial(sorted_partition, target, k)
        what = f"top_k, {k:,} of {N_CULTURES} × {n_neurons:,}"
        made.append(compare(rounds, ours, other, size, what=what, against=against, target=">= 3.0"))
    ranked = partial(kernels.rank, target, control, pools=whole, counts=[many])
    what = f"rank, {many:,} of {N_CULTURES} × {n_neurons:,}"
    made.append(
        compare(
            *(rounds, ranked, lambda: sorted_partition(target - control, many), 2 * size),
            what=what,
            against=against,
            target=">= 3.0",
        )
    )
    return made


def rows(rounds: int, *, small: bool = False) -> list[Row]:
    """The rows of all kernels."""
    torch.set_num_threads(kernels.thread_count())
    return score_rows(4 if small else 64, rounds) + top_k_rows(100_000 if small else 2_000_000, rounds)


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description="Speed of the compiled kernels, as ratios.")
    parser.add_argument("--rounds", type=int, default=7, help="measurements per median")
    parser.add_argument("--small", action="store_true", help="64 MB in place of 1 GB")
    options = parser.parse_args()
    made = rows(options.rounds, small=options.small)
    show(made, f"{kernels.thread_count()} threads, medians of {options.rounds}")


if __name__ == "__main__":
    main()
