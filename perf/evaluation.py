"""Time of `evaluate` on BLEnD: shared prompts against whole ones, three conditions against one.

    CULNIG_DATA=DIR python perf/evaluation.py [--rounds 3] [--questions 12] [--model embedded]

Takes the five rows of the first test questions, runs the variants alternately, and prints medians and ratios.
Loading the model is not counted; encoding the prompts is. Processor time is counted, which other programs on
the machine disturb less (`--wall`: wall time).
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from pathlib import Path

import numpy as np

from culnig import registry
from culnig.evaluation.conditions import UNMASKED, Condition
from culnig.evaluation.runner import run_conditions
from culnig.items import Item, choose_items
from culnig.models.loading import LoadSettings, load_model


def questions(number: int, data_dir: Path) -> list[Item]:
    """All rows of the first so many (culture, question) pairs of the test split."""
    items = choose_items(registry.benchmark("blend").read(data_dir), split="test")
    pairs = list(dict.fromkeys((item.culture, item.question_id) for item in items))
    step = max(1, len(pairs) // number)
    kept = set(pairs[::step][:number])
    return [item for item in items if (item.culture, item.question_id) in kept]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--questions", type=int, default=12)
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--wall", action="store_true")
    asked = parser.parse_args()
    clock = time.perf_counter if asked.wall else time.process_time
    bound = load_model(
        asked.model, registry.adapters(), LoadSettings(dtype="float32", device="cpu", attention="auto")
    )
    items = questions(asked.questions, Path(os.environ["CULNIG_DATA"]))
    generator = np.random.default_rng(0)
    none = Condition(UNMASKED, 1.0, np.empty(0, dtype=np.int64))
    masked = [
        Condition(f"random {seed}", 0.0, generator.choice(bound.layout.pool("all"), 500, replace=False))
        for seed in range(2)
    ]
    variants = {
        "whole prompts, one condition": ([none], False),
        "shared prompts, one condition": ([none], True),
        "shared prompts, three conditions": ([none, *masked], True),
    }
    took: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(asked.rounds):
        for name, (conditions, sharing) in variants.items():
            began = clock()
            run_conditions(bound, {"blend": items}, conditions, prefix_sharing=sharing)
            took[name].append(clock() - began)
    whole, shared, three = (statistics.median(times) for times in took.values())
    print(f"{len(items)} items, median of {asked.rounds} rounds")
    for name, times in took.items():
        print(f"{name}: {statistics.median(times):.2f} s")
    print(f"shared / whole: {shared / whole:.2f}")
    print(f"three conditions / one: {three / shared:.2f}")


if __name__ == "__main__":
    main()
