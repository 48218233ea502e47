"""Shared by all measurements: alternating runs of two things, medians of ratios, a table and JSON."""

from __future__ import annotations

import json
import math
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from culnig.core.memory import keep_freed_memory

Work = Callable[[], object]


@dataclass(frozen=True)
class Row:
    """One line: two things that were measured in the same minutes."""

    section: str
    what: str
    against: str
    unit: str
    """What the ratio counts: `x its time`, `x faster`, `x its memory`."""
    ratio: float
    """Median over the rounds."""
    lowest: float
    highest: float
    seconds: float | None = None
    """Ours, median."""
    target: str = ""
    """`<= 1.05` or `>= 2.5`, if the project has a target."""
    notes: dict[str, Any] = field(default_factory=dict)

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None without one."""
        if not self.target:
            return None
        sign, bound = self.target.split()
        return self.ratio <= float(bound) if sign == "<=" else self.ratio >= float(bound)

    @classmethod
    def of(cls, ratios: Sequence[float], seconds: Sequence[float] = (), **rest: Any) -> Row:
        """A row from the ratios, and our seconds, of each round."""
        return cls(
            ratio=statistics.median(ratios),
            lowest=min(ratios),
            highest=max(ratios),
            seconds=statistics.median(seconds) if seconds else None,
            **rest,
        )


def in_turns(
    rounds: int,
    *works: Work,
    clock: Callable[[], float] = time.perf_counter,
    before: Callable[[], object] = lambda: None,
    most_seconds: float = math.inf,
) -> list[list[float]]:
    """Seconds of each task, run alternately; the first round is a warm-up and is left out.

    Freed memory is kept, as in the commands. `before` comes before each work and is not counted. Rounds for
    which `most_seconds` leave no time are left out, but not the first after the warm-up.
    """
    keep_freed_memory()
    took: list[list[float]] = [[] for _ in works]
    begun = round_begun = time.perf_counter()
    for measured in range(rounds + 1):
        now = time.perf_counter()
        if measured > 1 and now - begun + (now - round_begun) > most_seconds:
            break
        round_begun = now
        for seconds, work in zip(took, works, strict=True):
            before()
            start = clock()
            work()
            if measured:
                seconds.append(clock() - start)
    return took


def quotients(first: Sequence[float], second: Sequence[float]) -> list[float]:
    """The ratio of the two times of each round: a temporary slowdown of the machine affects both."""
    return [one / other for one, other in zip(first, second, strict=True)]


def time_row(took: Sequence[float], reference: Sequence[float], **rest: Any) -> Row:
    """Our time as a multiple of the reference's."""
    return Row.of(quotients(took, reference), took, unit="x its time", **rest)


def speed_row(took: Sequence[float], reference: Sequence[float], **rest: Any) -> Row:
    """How many times faster than the reference we are."""
    return Row.of(quotients(reference, took), took, unit="x faster", **rest)


def machine() -> dict[str, Any]:
    """The machine and versions of the measurement."""
    import numpy
    import torch
    import transformers

    model = next(
        (
            line.split(":")[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.processor(),
    )
    return {
        "processor": model,
        "cpus": len(os.sched_getaffinity(0)),
        "threads": torch.get_num_threads(),
        "load_at_start": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "numpy": numpy.__version__,
    }


def show(rows: Sequence[Row], title: str = "") -> None:
    """Print the rows as a table."""
    table = Table(title=title)
    for heading in ("section", "what", "against", "ratio", "of the rounds", "target", "", "s"):
        table.add_column(heading, justify="right" if heading in ("ratio", "s") else "left")
    for row in rows:
        table.add_row(
            row.section,
            row.what,
            row.against,
            f"{row.ratio:.2f} {row.unit}",
            f"{row.lowest:.2f} to {row.highest:.2f}",
            row.target,
            {True: "met", False: "missed", None: ""}[row.met],
            "" if row.seconds is None else f"{row.seconds:.2f}",
        )
    Console(width=150).print(table)


def write_json(path: Path, rows: Sequence[Row], about: dict[str, Any], skipped: dict[str, str]) -> None:
    """Write rows, the machine, and what was skipped and why."""
    document = {
        "machine": about,
        "rows": [asdict(row) | {"met": row.met} for row in rows],
        "skipped": skipped,
    }
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
