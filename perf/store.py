"""What storing costs, as ratios measured in the same minutes.

    python perf/store.py [--rounds 5] [--items 32] [--folder DIR]

Scores the embedded model over `everyday` at the levels culture, item and token, the levels taking turns, and
compares medians. Then reads the stored tensors offline: `reduce` with the settings of the run against plain
h5py that reads every dataset and does nothing with it. Files go to a temporary folder in DIR and are removed.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import h5py
from rich.console import Console
from rich.table import Table

from culnig import registry
from culnig.api import load_model
from culnig.bound import BoundModel
from culnig.extraction.levels import LEVELS, Level
from culnig.extraction.run import RunSettings, score_run
from culnig.extraction.scoring import ScoreSettings
from culnig.items import ChosenItems, choose_items
from culnig.kernels import thread_count
from culnig.reduction.reduce import Reducer, Reduction
from culnig.store.run import Run


class Ratio(NamedTuple):
    """One line of the table."""

    what: str
    against: str
    value: float
    target: str
    met: bool
    seconds: float
    megabytes: float


def in_turns(rounds: int, *works: Callable[[], object]) -> list[list[float]]:
    """Seconds of each work, the works taking turns; the first round warms up and is left out."""
    took: list[list[float]] = [[] for _ in works]
    for measured in range(rounds + 1):
        for seconds, work in zip(took, works, strict=True):
            start = time.perf_counter()
            work()
            if measured:
                seconds.append(time.perf_counter() - start)
    return took


def median_ratio(first: list[float], second: list[float]) -> float:
    """Median over the rounds of the ratio of the two times of one round."""
    return statistics.median(one / other for one, other in zip(first, second, strict=True))


def size_of(folder: Path) -> float:
    """Megabytes of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def scorer(bound: BoundModel, n_items: int, folder: Path, level: Level) -> Callable[[], object]:
    """A whole run at that level, written over the one before."""
    items = choose_items(registry.benchmark("everyday").read(None), split="identify", limit=n_items)
    chosen = {"everyday": ChosenItems("target", "identify", items, {})}

    def work() -> None:
        shutil.rmtree(folder / level, ignore_errors=True)
        score_run(bound, chosen, ScoreSettings(), folder / level, how=RunSettings(level=level))

    return work


def level_ratios(folder: Path, rounds: int, n_items: int) -> list[Ratio]:
    """Scoring at levels item and token against level culture."""
    bound = load_model("embedded")
    took = in_turns(rounds, *(scorer(bound, n_items, folder, level) for level in LEVELS))
    culture = took[LEVELS.index("culture")]
    rows = []
    for level, seconds in zip(LEVELS[1:], took[1:], strict=True):
        value = median_ratio(seconds, culture)
        rows.append(
            Ratio(
                f"score --level {level}, {n_items} items",
                f"--level culture, {statistics.median(culture):.2f} s",
                value,
                "≤ 1.15" if level == "token" else "",
                value <= 1.15,
                statistics.median(seconds),
                size_of(folder / level),
            )
        )
    return rows


def read_plainly(folder: Path) -> None:
    """Read every dataset of every part from beginning to end."""

    def read(name: str, member: h5py.HLObject) -> None:
        if isinstance(member, h5py.Dataset):
            member[()]

    for path in sorted(folder.glob("*.h5")):
        with h5py.File(path) as file:
            file.visititems(read)


def reduce_ratio(folder: Path, rounds: int) -> Ratio:
    """`reduce` against plain reading of the tensors that it reads."""

    def reduce() -> None:
        shutil.rmtree(folder / "reduced", ignore_errors=True)
        Reducer(Run(folder / "token"), Reduction()).write(folder / "reduced")

    ours, plain = in_turns(rounds, reduce, lambda: read_plainly(folder / "token" / "tensors"))
    value = median_ratio(plain, ours)
    return Ratio(
        "reduce, speed",
        f"plain h5py, {statistics.median(plain):.2f} s",
        value,
        "≥ 0.70",
        value >= 0.7,
        statistics.median(ours),
        size_of(folder / "token" / "tensors"),
    )


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description="What storing costs, as ratios.")
    parser.add_argument("--rounds", type=int, default=5, help="measurements per median")
    parser.add_argument("--items", type=int, default=32, help="items to score")
    parser.add_argument("--folder", type=Path, help="where temporary files go")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as temporary:
        folder = Path(temporary)
        rows = level_ratios(folder, options.rounds, options.items)
        rows.append(reduce_ratio(folder, options.rounds))
    table = Table(title=f"{thread_count()} threads, medians of {options.rounds}")
    for heading in ("what", "against", "ratio", "target", "", "s", "MB"):
        table.add_column(heading, justify="left" if heading in ("what", "against", "") else "right")
    for row in rows:
        table.add_row(
            row.what,
            row.against,
            f"{row.value:.2f}",
            row.target,
            ("met" if row.met else "missed") if row.target else "",
            f"{row.seconds:.2f}",
            f"{row.megabytes:.0f}",
        )
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
