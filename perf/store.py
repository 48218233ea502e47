"""What storing costs, as ratios measured in the same minutes.

    python perf/store.py [--rounds 5] [--items 32] [--folder DIR]

Scores the embedded model over `everyday` at the levels culture, item and token, the levels taking turns, and
compares medians; removing the files of the round before is not counted. Then reads the stored tensors
offline, each time in a process of its own whose imports are not counted: `reduce` with the settings of the
run against plain h5py that only reads every dataset, from the disk (the system is told to forget the files
before each) and from the system's file cache. Files go to a temporary folder in DIR and are removed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import h5py
from measuring import Row, in_turns, quotients, show, time_row

from culnig import registry
from culnig.api import load_model
from culnig.benchmarks.base import ChosenItems
from culnig.core.items import choose_items
from culnig.core.memory import keep_freed_memory
from culnig.models.base import BoundModel
from culnig.reanalysis.reduce import Reducer, Reduction
from culnig.scoring.levels import LEVELS, Level
from culnig.scoring.run import RunSettings, score_run
from culnig.scoring.scoring import ScoreSettings
from culnig.store.run import Run

EARLIER = "earlier"
"""Folder of the previous round's run, until it is removed."""


def size_of(folder: Path) -> float:
    """Megabytes of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def scorer(bound: BoundModel, n_items: int, folder: Path, level: Level) -> Callable[[], object]:
    """A whole run at that level; the previous run is moved away first."""
    items = choose_items(registry.benchmark("everyday").read(None), split="identify", limit=n_items)
    chosen = {"everyday": ChosenItems("target", "identify", items, {})}

    def work() -> None:
        if (folder / level).exists():
            (folder / level).rename(folder / EARLIER)
        score_run(bound, chosen, ScoreSettings(), folder / level, run_settings=RunSettings(level=level))

    return work


def remove_earlier(folder: Path) -> None:
    """Remove the run that was moved away, and wait until the disk has finished."""
    shutil.rmtree(folder / EARLIER, ignore_errors=True)
    os.sync()


def level_rows(folder: Path, rounds: int, n_items: int) -> list[Row]:
    """Scoring at levels item and token against level culture."""
    bound = load_model("embedded")
    works = [scorer(bound, n_items, folder, level) for level in LEVELS]
    took = in_turns(rounds, *works, before=lambda: remove_earlier(folder))
    culture = took[LEVELS.index("culture")]
    return [
        time_row(
            seconds,
            culture,
            section="store",
            what=f"score --level {level}, {n_items} items",
            against="--level culture",
            target="<= 1.15" if level == "token" else "",
            notes={"MB": size_of(folder / level)},
        )
        for level, seconds in zip(LEVELS[1:], took[1:], strict=True)
    ]


def reduce(folder: Path) -> None:
    """Make the run in the folder again, from its tensors."""
    keep_freed_memory()  # as the command does
    Reducer(Run(folder / "token"), Reduction()).write(folder / "reduced", overwrite=True)


def read_plainly(folder: Path) -> None:
    """Read every dataset of every part of tensors from beginning to end."""

    def read(name: str, member: h5py.HLObject) -> None:
        if isinstance(member, h5py.Dataset):
            member[()]

    for path in tensor_files(folder):
        with h5py.File(path) as file:
            file.visititems(read)


READERS = {"reduce": reduce, "plain": read_plainly}


def tensor_files(folder: Path) -> list[Path]:
    """Parts of the run at level token."""
    return sorted((folder / "token" / "tensors").glob("*.h5"))


def forget(folder: Path) -> None:
    """Drop the tensors from the system's file cache."""
    for path in tensor_files(folder):
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def seconds_of(reader: str, folder: Path) -> float:
    """How long a reader takes in a process of its own."""
    command = [sys.executable, __file__, "--reader", reader, "--folder", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout)


def reduce_rows(folder: Path, rounds: int) -> list[Row]:
    """`reduce` against plain reading of the tensors that it reads, from the disk and from the file cache."""
    made = []
    for where, before in (("the disk", forget), ("the file cache", lambda folder: None)):
        took: dict[str, list[float]] = {reader: [] for reader in READERS}
        for _ in range(rounds + 1):
            for reader, seconds in took.items():
                before(folder)
                seconds.append(seconds_of(reader, folder))
        ours, plain = took["reduce"][1:], took["plain"][1:]  # the first round warms up
        made.append(
            Row.of(
                quotients(plain, ours),
                ours,
                section="store",
                what=f"reduce, from {where}",
                against="plain h5py reading",
                unit="x its speed",
                target=">= 0.70",
                notes={"MB": size_of(folder / "token" / "tensors")},
            )
        )
    return made


def rows(rounds: int = 5, n_items: int = 32, folder: Path | None = None) -> list[Row]:
    """What storing and reading cost; temporary files go to `folder`."""
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        made = level_rows(Path(temporary), rounds, n_items)
        return [*made, *reduce_rows(Path(temporary), rounds)]


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description="What storing costs, as ratios.")
    parser.add_argument("--rounds", type=int, default=5, help="measurements per median")
    parser.add_argument("--items", type=int, default=32, help="items to score")
    parser.add_argument("--folder", type=Path, help="where temporary files go")
    parser.add_argument("--reader", choices=list(READERS), help="time this once, on a run in the folder")
    asked = parser.parse_args()
    if asked.reader:
        start = time.perf_counter()
        READERS[asked.reader](asked.folder)
        print(time.perf_counter() - start)
        return
    show(rows(asked.rounds, asked.items, asked.folder))


if __name__ == "__main__":
    main()
