"""Time of `evaluate` on BLEnD: shared prompts against whole ones, three conditions against one.

    CULNIG_DATA=DIR python perf/evaluation.py [--rounds 3] [--items 100] [--model embedded]

Takes all rows of test questions spread over the benchmark, runs the variants in turns, and prints medians of
the ratios of the rounds. Loading the model is not counted; encoding the prompts is. Processor time is
counted, which other programs on the machine disturb less (`--wall`: wall time).
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from measuring import Row, in_turns, machine, show, time_row

from culnig import registry
from culnig.core.items import Item, choose_items
from culnig.evaluation.conditions import UNMASKED, Condition
from culnig.evaluation.runner import run_conditions
from culnig.models.loading import LoadSettings, load_model

ROWS_OF_A_QUESTION = 4
"""Approximate number of rows of a BLEnD question in one culture."""


def questions(n_items: int, data_dir: Path) -> list[Item]:
    """About `n_items` items of the test split: all rows of evenly spaced (culture, question) pairs."""
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
) -> list[Row]:
    """Shared prompts against whole ones, and three conditions against one."""
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
    whole, shared, three = in_turns(
        rounds,
        partial(evaluate, [none], prefix_sharing=False),
        partial(evaluate, [none]),
        partial(evaluate, [none, *masked]),
        clock=clock,
    )
    what = f"evaluate, {len(items)} BLEnD items"
    return [
        time_row(shared, whole, section="evaluation", what=what, against="prompts whole", target="<= 0.6"),
        time_row(
            three,
            shared,
            section="evaluation",
            what=f"{what}, three conditions",
            against="one condition",
            target="<= 3.1",
        ),
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
    show(rows(asked.rounds, asked.items, model=asked.model, clock=clock), str(machine()))


if __name__ == "__main__":
    main()
