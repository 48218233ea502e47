"""What each process does where a model is spread over the processes of torchrun (`--fsdp`).

    python perf/spreading.py balance [--benchmark blend] [--token-budget 2048 16384] [--lengths FILE]
    python perf/spreading.py memory [--processes 1 2 4]

`balance` shares out the real prompts of benchmarks, by default of BLEnD and its control, between 1 to 64
processes, and counts what each does. `memory` loads and scores a random model in processes on this machine's
CPUs, and asks the system how much memory each took.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from culnig.benchmarks.choosing import read_benchmarks
from culnig.core.text import span
from culnig.models.loading import load_tokenizer
from culnig.models.named import model_without_weights
from culnig.planning.plan import benchmark_sizes
from culnig.planning.sharing import shared_out, shares_of
from culnig.planning.work import BenchmarkSize
from culnig.scoring.portions import MOST_IN_TURNS


def prompt_lengths(model: str, names: Sequence[str]) -> dict[str, list[int]]:
    """Tokens of each prompt in the half `identify` of each benchmark, as a model's tokenizer writes them."""
    bound = replace(model_without_weights(model), tokenizer=load_tokenizer(model))
    sizes = benchmark_sizes(bound, read_benchmarks(names, split="identify"))
    return {name: list(size.lengths) for name, size in sizes.items()}


def balance_table(lengths: Mapping[str, Sequence[int]], budgets: Sequence[int]) -> Table:
    """Passes and tokens of the processes with fewest and most, and how long all are busy.

    After the rows of each budget come those of the budget that `score` chooses on GPUs that have room for it.
    """
    sizes = [BenchmarkSize(1, own) for own in lengths.values()]
    n_items, n_tokens = sum(map(len, lengths.values())), sum(size.n_tokens for size in sizes)
    headings = ("token budget", "batches", "processes", "passes", "tokens", "busy")
    table = Table(*headings, title=f"{n_items:,} items, {n_tokens:,} tokens")
    numbers = range(1, MOST_IN_TURNS + 1)
    for budget in budgets:
        for chosen in ({}, {number: shared_out(budget, sizes, number) for number in numbers}):
            used = {number: chosen.get(number, budget) for number in numbers}
            rows = {number: shares_of(sizes, used[number], number) for number in numbers}
            worst = min(rows, key=lambda number: rows[number].busy)
            for number in sorted({1, 2, 4, 8, 16, 32, 64, worst}):
                row = rows[number]
                spans = (span(min(own), max(own)) for own in (row.passes, row.tokens))
                about = (f"{used[number]:,}", f"{row.n_batches:,}", str(number))
                table.add_row(*about, *spans, f"{row.busy:.1%}")
            table.add_section()
    return table


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="what", required=True)
    shares = commands.add_parser("balance", help="work of each process")
    shares.add_argument("--model", default="embedded")
    shares.add_argument("--benchmark", action="append")
    shares.add_argument("--token-budget", type=int, nargs="+", default=[2048, 16384])
    shares.add_argument("--lengths", type=Path, help="also write how many items have how many tokens")
    memory = commands.add_parser("memory", help="memory of each process")
    memory.add_argument("--processes", type=int, nargs="+", default=[1, 2, 4])
    asked = parser.parse_args()
    if asked.what == "memory":
        from spread_memory import memory_table

        Console(width=120).print(memory_table(asked.processes))
        return
    lengths = prompt_lengths(asked.model, asked.benchmark or ["blend", "blend-control"])
    if asked.lengths is not None:
        counts = {name: dict(sorted(Counter(own).items())) for name, own in lengths.items()}
        asked.lengths.write_text(json.dumps({"model": asked.model, "items_by_length": counts}) + "\n")
    Console(width=120).print(balance_table(lengths, asked.token_budget))


if __name__ == "__main__":
    main()
