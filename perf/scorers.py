"""What more scorers in the same pass cost, as ratios measured in the same minutes.

    python perf/scorers.py [--rounds 5] [--items 32] [--passes]

Scores the embedded model over `everyday` with gradient × activation alone, and with three scorers beside it,
the two taking turns; with --passes also, once, with each of the scorers that need passes of their own.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable

from rich.console import Console
from rich.table import Table
from store import in_turns, median_ratio

from culnig import registry
from culnig.api import load_model
from culnig.extraction.scoring import ScoreSettings, score_benchmark
from culnig.items import choose_items
from culnig.kernels import thread_count

IN_THE_SAME_PASS = ("mean-activation", "positive-tokens", "gradient-norm")
WITH_PASSES = ("log-odds", "crispr", "integrated-gradients")


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description="What more scorers cost, as ratios.")
    parser.add_argument("--rounds", type=int, default=5, help="measurements per median")
    parser.add_argument("--items", type=int, default=32, help="items per run")
    parser.add_argument("--passes", action="store_true", help="time scorers with passes of their own too")
    asked = parser.parse_args()
    bound = load_model("embedded")
    items = choose_items(registry.benchmark("everyday").read(None), split="identify", limit=asked.items)

    def scoring(names: tuple[str, ...]) -> Callable[[], object]:
        scorers = [registry.scorer(name) for name in names]
        return lambda: score_benchmark(bound, items, "target", ScoreSettings(), scorers=scorers)

    table = Table(title=f"{asked.items} items, {asked.rounds} rounds, {thread_count()} threads")
    for heading in ("scorers beside gradient × activation", "seconds", "ratio to none", "target"):
        table.add_column(heading, justify="left" if heading.startswith("scorers") else "right")
    for names in (IN_THE_SAME_PASS, *((name,) for name in WITH_PASSES if asked.passes)):
        rounds = asked.rounds if names == IN_THE_SAME_PASS else 1
        alone, together = in_turns(rounds, scoring(()), scoring(names))
        table.add_row(
            ", ".join(names),
            f"{statistics.median(together):.2f}",
            f"{median_ratio(together, alone):.3f}",
            "≤ 1.15" if names == IN_THE_SAME_PASS else "",
        )
    Console().print(table)


if __name__ == "__main__":
    main()
