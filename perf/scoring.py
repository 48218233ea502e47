"""Time of `score` against the bare forward and backward passes.

    CULNIG_DATA=DIR python perf/scoring.py [--rounds 3] [--items 64] [--wall] [--command]

Takes BLEnD questions with all their rows, runs `score` and `bare` alternately and prints medians and their
ratios. `bare` is forward to P(gold) and backward to activations over the same batches, with nothing captured
and nothing kept. Where the engine computes its matrix products with oneDNN, a second `bare` does so too, so
that other differences show alone. Encoding the prompts is counted, except in `bare`; loading is not.
Processor time is measured, which other programs on the machine disturb less (`--wall`: wall time). The first
round warms up and is left out. `--command` measures the whole command on the first 8 items of each culture,
less the command on one item.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from measuring import Row, in_turns, show, time_row

from culnig import registry
from culnig.api import load_model
from culnig.core.items import Item, choose_items
from culnig.inference.answers import frozen
from culnig.inference.batches import Batch, make_batches
from culnig.inference.encoding import Encoder
from culnig.inference.products import by_onednn, fast_products
from culnig.models.base import BoundModel
from culnig.scoring.scoring import ScoreSettings, score_benchmark


def questions(n_items: int, data_dir: Path) -> list[Item]:
    """All rows of questions spread over the identify split, at least this many."""
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
            ids = batch.token_ids().to(model.device)
            hidden = model.base_model(input_ids=ids, use_cache=False).last_hidden_state
            last = hidden[torch.arange(len(ids)), torch.from_numpy(batch.lengths - 1)]
            probabilities = model.get_output_embeddings()(last).softmax(-1)
            gold = torch.tensor([one.gold_id for one in batch.items], device=model.device)
            probabilities.gather(1, gold[:, None]).sum().backward()
    handle.remove()


def rows(rounds: int = 3, n_items: int = 64, *, wall: bool = False) -> list[Row]:
    """The time of scoring as a multiple of the bare passes."""
    bound = load_model("embedded")
    items = questions(n_items, Path(os.environ["CULNIG_DATA"]))
    batches = make_batches(Encoder(bound).encode_all(items))

    def score() -> None:
        score_benchmark(bound, items, "target", ScoreSettings())

    def bare_by_onednn() -> None:
        with fast_products(bound.model):
            bare(bound, batches)

    works = [score, lambda: bare(bound, batches)]
    names = [f"bare passes over {len(items)} prompts"]
    if by_onednn():
        works.append(bare_by_onednn)
        names.append(f"{names[0]}, oneDNN too")
    scored, *bares = in_turns(rounds, *works, clock=time.perf_counter if wall else time.process_time)
    return [
        time_row(scored, took, section="scoring", what="score", against=name, target="<= 1.05")
        for name, took in zip(names, bares, strict=True)
    ]


def _command(*options: str) -> None:
    """Run `score` on BLEnD in a process of its own, into a folder that is removed."""
    with tempfile.TemporaryDirectory() as folder:
        asked = ("score", "--model", "embedded", "--benchmark", "blend", *options, "-o", f"{folder}/run")
        done = subprocess.run([sys.executable, "-m", "culnig", *asked], capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{' '.join(asked)} failed:\n{done.stderr[-2000:]}")


def _processor_time() -> float:
    """Of this process and of those that it has waited for."""
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


def command_rows(rounds: int = 3, per_culture: int = 8, *, wall: bool = False) -> list[Row]:
    """The time of the command on the first items of each culture, without what it takes on one item."""
    bound = load_model("embedded")
    items = choose_items(
        registry.benchmark("blend").read(Path(os.environ["CULNIG_DATA"])),
        split="identify",
        per_culture=per_culture,
    )
    batches = make_batches(Encoder(bound).encode_all(items))

    def passes() -> None:
        with fast_products(bound.model):
            bare(bound, batches)

    works = (
        lambda: _command("--per-culture", str(per_culture)),
        lambda: _command("--limit", "1"),
        passes,
    )
    whole, single, took = in_turns(rounds, *works, clock=time.perf_counter if wall else _processor_time)
    scored = [one - other for one, other in zip(whole, single, strict=True)]
    return [
        time_row(
            scored,
            took,
            section="scoring",
            what="score, the command less that on one item",
            against=f"bare passes over {len(items)} prompts, same products",
            target="<= 1.05",
        )
    ]


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description="What scoring costs beside the bare passes.")
    parser.add_argument("--rounds", type=int, default=3, help="measurements per median")
    parser.add_argument("--items", type=int, default=64, help="least number of prompts")
    parser.add_argument("--wall", action="store_true", help="count wall time")
    parser.add_argument("--command", action="store_true", help="measure the whole command")
    asked = parser.parse_args()
    if asked.command:
        show(command_rows(asked.rounds, wall=asked.wall))
    else:
        show(rows(asked.rounds, asked.items, wall=asked.wall))


if __name__ == "__main__":
    main()
