"""What additional scorers in the same pass cost.

    python perf/scorers.py [--rounds 5] [--items 32] [--passes]

Scores the embedded model over `everyday` with gradient × activation alone, with three scorers beside it, and
with `relp` beside it, alternating; with --passes also, once, with each of the other scorers that need passes
of their own. Times are CPU times of the process, which a busy machine disturbs least.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

from measuring import Row, in_turns, show, time_row

from culnig import registry
from culnig.api import load_model
from culnig.core.items import choose_items
from culnig.scoring.scoring import ScoreSettings, score_benchmark

IN_THE_SAME_PASS = ("mean-activation", "positive-tokens", "gradient-norm")
RELEVANCE = ("relp",)
WITH_PASSES = ("log-odds", "crispr", "integrated-gradients")
TARGETS = {IN_THE_SAME_PASS: "<= 1.15", RELEVANCE: "<= 1.6"}


def rows(rounds: int, n_items: int = 32, *, passes: bool = False) -> list[Row]:
    """Three scorers and `relp` against none, and on request the others that need passes of their own."""
    bound = load_model("embedded")
    items = choose_items(registry.benchmark("everyday").read(None), split="identify", limit=n_items)

    settings = ScoreSettings()

    def scoring(names: tuple[str, ...]) -> Callable[[], object]:
        scorers = [registry.scorer(name) for name in names]
        return lambda: score_benchmark(bound, items, "target", settings, scorers=scorers)

    made = []
    for names in (IN_THE_SAME_PASS, RELEVANCE, *((name,) for name in WITH_PASSES if passes)):
        target = TARGETS.get(names, "")
        together, alone = in_turns(
            rounds if target else 1, scoring(names), scoring(()), clock=time.process_time
        )
        made.append(
            time_row(
                *(together, alone),
                section="scorers",
                what=f"{', '.join(names)}, {n_items} items",
                against="gradient × activation alone, CPU time",
                target=target,
            )
        )
    return made


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description="What additional scorers cost, as ratios.")
    parser.add_argument("--rounds", type=int, default=5, help="measurements per median")
    parser.add_argument("--items", type=int, default=32, help="items per run")
    parser.add_argument("--passes", action="store_true", help="time scorers with passes of their own too")
    asked = parser.parse_args()
    show(rows(asked.rounds, asked.items, passes=asked.passes), f"{asked.rounds} rounds")


if __name__ == "__main__":
    main()
