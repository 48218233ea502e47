"""Time of `evaluate` on BLEnD: shared prompts against whole ones, three conditions against one.

    CULNIG_DATA=DIR python perf/evaluation.py [--rounds 3] [--items 100] [--model embedded]

Takes all rows of test questions spread over the benchmark, runs the variants in turns, and prints medians of
the ratios of the rounds. Loading the model is not counted; encoding the prompts is. Processor time is
counted, which other programs on the machine disturb less (`--wall`: wall time).
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from culnig import registry
from culnig.evaluation.conditions import UNMASKED, Condition
from culnig.evaluation.runner import run_conditions
from culnig.items import Item, choose_items
from culnig.models.loading import LoadSettings, load_model

ROWS_OF_A_QUESTION = 4
"""About so many rows has a BLEnD question in one culture."""


def questions(n_items: int, data_dir: Path) -> list[Item]:
    """About `n_items` items of the test split: all rows of (culture, question) pairs at even distances."""
    items = choose_items(registry.benchmark("blend").read(data_dir), split="test")
    pairs = list(dict.fromkeys((item.culture, item.question_id) for item in items))
    number = max(1, n_items // ROWS_OF_A_QUESTION)
    kept = set(pairs[:: max(1, len(pairs) // number)][:number])
    return [item for item in items if (item.culture, item.question_id) in kept]


def rows(
    rounds: int = 3,
    n_items: int = 100,
    *,
    model: str = "embedded",
    clock: Callable[[], float] = time.process_time,
) -> list[dict[str, Any]]:
    """What was compared, seconds of both, the median of the rounds' ratios, their range and the target."""
    bound = load_model(
        model, registry.adapters(), LoadSettings(dtype="float32", device="cpu", attention="auto")
    )
    items = questions(n_items, Path(os.environ["CULNIG_DATA"]))
    generator = np.random.default_rng(0)
    none = Condition(UNMASKED, 1.0, np.empty(0, dtype=np.int64))
    masked = [
        Condition(f"random {seed}", 0.0, generator.choice(bound.layout.pool("all"), 500, replace=False))
        for seed in range(2)
    ]
    evaluate = partial(run_conditions, bound, {"blend": items})
    variants = {
        "whole": partial(evaluate, [none], prefix_sharing=False),
        "shared": partial(evaluate, [none]),
        "three": partial(evaluate, [none, *masked]),
    }
    took: dict[str, list[float]] = {name: [] for name in variants}
    for measured in range(rounds + 1):
        for name, variant in variants.items():
            began = clock()
            variant()
            if measured:  # the first round warms up
                took[name].append(clock() - began)

    def row(name: str, ours: str, theirs: str, target: str) -> dict[str, Any]:
        ratios = [one / other for one, other in zip(took[ours], took[theirs], strict=True)]
        return {
            "name": f"evaluate, {len(items)} BLEnD items, {name}",
            "ours": statistics.median(took[ours]),
            "theirs": statistics.median(took[theirs]),
            "ratio": statistics.median(ratios),
            "spread": (min(ratios), max(ratios)),
            "target": target,
        }

    return [
        row("shared prompts against whole ones", "shared", "whole", "<= 0.6"),
        row("three conditions against one", "three", "shared", "<= 3.1"),
    ]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Time of evaluate, as ratios.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--items", type=int, default=100)
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--wall", action="store_true")
    asked = parser.parse_args()
    clock = time.perf_counter if asked.wall else time.process_time
    for row in rows(asked.rounds, asked.items, model=asked.model, clock=clock):
        low, high = row["spread"]
        print(
            f"{row['name']}: {row['ours']:.2f} s and {row['theirs']:.2f} s, ratio {row['ratio']:.2f} "
            f"({low:.2f} to {high:.2f}), target {row['target']}"
        )


if __name__ == "__main__":
    main()
