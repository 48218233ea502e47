"""Time of `score`, with and without shared prefixes, against the bare passes that it cannot do without.

    CULNIG_DATA=DIR python perf/scoring.py [--rounds 3] [--items 64] [--wall]

Takes BLEnD questions with all their rows, runs the works alternately and prints medians and their ratios to
`bare`: forward to P(gold) and backward to activations, over the batches that `score` makes of whole prompts,
nothing captured and nothing kept. Loading the model is not counted; encoding the prompts is, but for `bare`.
Processor time is counted, which other programs on the machine disturb less (`--wall`: wall time).
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from culnig import registry
from culnig.api import load_model
from culnig.bound import BoundModel
from culnig.extraction.scoring import ScoreSettings, score_benchmark
from culnig.inference.answers import frozen
from culnig.inference.batches import Batch, make_batches
from culnig.inference.encoding import Encoder
from culnig.items import Item, choose_items
from culnig.kernels import thread_count

TARGETS = {"score": 1.05, "score shared": 0.80}


def questions(n_items: int, data_dir: Path) -> list[Item]:
    """All rows of questions from all over the identify split, at least so many."""
    items = choose_items(registry.benchmark("blend").read(data_dir), split="identify")
    pairs: dict[tuple[str, str], list[Item]] = {}
    for item in items:
        pairs.setdefault((item.culture, item.question_id), []).append(item)
    step = max(1, len(pairs) // n_items)
    chosen: list[Item] = []
    for rows_of_question in list(pairs.values())[::step]:
        if len(chosen) < n_items:
            chosen += rows_of_question
    return chosen


def bare(bound: BoundModel, batches: Sequence[Batch]) -> None:
    """Forward and activation-only backward passes, the head at the last position, and nothing else."""
    model: Any = bound.model
    handle = model.get_input_embeddings().register_forward_hook(
        lambda module, inputs, output: output.requires_grad_(True)
    )
    with frozen(model):
        for batch in batches:
            ids = batch.token_ids(model.device)
            hidden = model.base_model(input_ids=ids, use_cache=False).last_hidden_state
            last = hidden[torch.arange(len(ids)), torch.from_numpy(batch.lengths - 1)]
            probabilities = model.get_output_embeddings()(last).softmax(-1)
            gold = torch.tensor([one.gold_id for one in batch.items])
            probabilities.gather(1, gold[:, None]).sum().backward()
    handle.remove()


def rows(rounds: int, n_items: int, *, wall: bool = False) -> list[dict[str, Any]]:
    """One row for each work: seconds (median, least, most), ratio to `bare` (median of rounds), target."""
    bound = load_model("embedded")
    items = questions(n_items, Path(os.environ["CULNIG_DATA"]))
    batches = make_batches(Encoder(bound).encode_all(items))

    def scoring(sharing: bool) -> Callable[[], object]:
        settings = ScoreSettings(prefix_sharing=sharing)
        return lambda: score_benchmark(bound, items, "target", settings)

    works = {
        "bare": lambda: bare(bound, batches),
        "score": scoring(False),
        "score shared": scoring(True),
    }
    clock = time.perf_counter if wall else time.process_time
    bare(bound, batches[-1:])  # warms up
    took: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            began = clock()
            work()
            took[name].append(clock() - began)
    return [
        {
            "work": name,
            "items": len(items),
            "rounds": rounds,
            "seconds": statistics.median(times),
            "least": min(times),
            "most": max(times),
            "ratio": statistics.median(a / b for a, b in zip(times, took["bare"], strict=True)),
            "target": TARGETS.get(name),
        }
        for name, times in took.items()
    ]


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description="What scoring costs beside the bare passes.")
    parser.add_argument("--rounds", type=int, default=3, help="measurements per median")
    parser.add_argument("--items", type=int, default=64, help="least number of prompts")
    parser.add_argument("--wall", action="store_true", help="count wall time")
    asked = parser.parse_args()
    measured = rows(asked.rounds, asked.items, wall=asked.wall)
    table = Table(
        title=f"{measured[0]['items']} prompts, {asked.rounds} rounds, {thread_count()} threads",
    )
    for heading in ("work", "seconds", "least", "most", "ratio to bare", "target"):
        table.add_column(heading, justify="left" if heading == "work" else "right")
    for row in measured:
        seconds = (f"{row[name]:.2f}" for name in ("seconds", "least", "most"))
        target = "" if row["target"] is None else f"≤ {row['target']:.2f}"
        table.add_row(row["work"], *seconds, f"{row['ratio']:.3f}", target)
    Console().print(table)


if __name__ == "__main__":
    main()
