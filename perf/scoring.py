"""Time of `score`, with and without shared prefixes, against the bare passes that it cannot do without.

    CULNIG_DATA=DIR python perf/scoring.py [--rounds 3] [--items 64] [--wall]

Takes BLEnD questions with all their rows, runs the works alternately and prints medians and their ratios to
`bare`: forward to P(gold) and backward to activations, over the batches that `score` makes of whole prompts,
nothing captured and nothing kept. Where the engine takes its matrix products from oneDNN there is a second
`bare` that takes them there too: beside it, what is gained elsewhere is seen alone. Loading the model is not
counted; encoding the prompts is, but for `bare`. Processor time is counted, which other programs on the
machine disturb less (`--wall`: wall time). The first round is left out: it warms up, and holds the trial that
finds out whether the model can share prefixes.
"""

from __future__ import annotations

import argparse
import os
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
            ids = batch.token_ids().to(model.device)
            hidden = model.base_model(input_ids=ids, use_cache=False).last_hidden_state
            last = hidden[torch.arange(len(ids)), torch.from_numpy(batch.lengths - 1)]
            probabilities = model.get_output_embeddings()(last).softmax(-1)
            gold = torch.tensor([one.gold_id for one in batch.items])
            probabilities.gather(1, gold[:, None]).sum().backward()
    handle.remove()


def rows(rounds: int = 3, n_items: int = 64, *, wall: bool = False) -> list[Row]:
    """Scoring whole prompts, and scoring behind shared prefixes, as multiples of the bare passes."""
    bound = load_model("embedded")
    items = questions(n_items, Path(os.environ["CULNIG_DATA"]))
    batches = make_batches(Encoder(bound).encode_all(items))

    def score(sharing: bool) -> None:
        score_benchmark(bound, items, "target", ScoreSettings(prefix_sharing=sharing))

    def bare_by_onednn() -> None:
        with fast_products(bound.model):
            bare(bound, batches)

    works = [lambda: score(False), lambda: score(True), lambda: bare(bound, batches)]
    names = [f"bare passes over {len(items)} prompts"]
    if by_onednn():
        works.append(bare_by_onednn)
        names.append(f"{names[0]}, oneDNN too")
    whole, shared, *bares = in_turns(rounds, *works, clock=time.perf_counter if wall else time.process_time)
    return [
        time_row(took, against, section="scoring", what=what, against=name, target=target)
        for name, against in zip(names, bares, strict=True)
        for took, what, target in (
            (whole, "score, whole prompts", "<= 1.05"),
            (shared, "score, shared prefixes", "<= 0.80"),
        )
    ]


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description="What scoring costs beside the bare passes.")
    parser.add_argument("--rounds", type=int, default=3, help="measurements per median")
    parser.add_argument("--items", type=int, default=64, help="least number of prompts")
    parser.add_argument("--wall", action="store_true", help="count wall time")
    asked = parser.parse_args()
    show(rows(asked.rounds, asked.items, wall=asked.wall))


if __name__ == "__main__":
    main()
