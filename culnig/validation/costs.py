"""What a scorer costs: passes, time and memory."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from culnig.core.items import Item
from culnig.inference.live_bytes import LiveBytes
from culnig.models.base import BoundModel
from culnig.scorers.base import PATH_STEPS, Scorer
from culnig.scoring.scoring import ScoreSettings, score_benchmark

TRACED = 8
"""Items that are scored in one batch to measure the memory."""


@dataclass(frozen=True)
class Cost:
    """Of a scorer alone, beside the default score, which is always computed."""

    passes: int
    """Forward and backward passes over each item."""
    seconds: float
    """To score the items."""
    n_timed: int
    memory: int
    """Most bytes that tensors hold at once while the first TRACED items are scored, weights not counted."""


def n_passes(scorers: Sequence[Scorer]) -> int:
    """One forward and one backward pass, and those for further targets."""
    targets = {target for scorer in scorers for target in scorer.targets}
    return 2 + sum(2 * PATH_STEPS if target == "path" else 1 for target in targets)


def measure_cost(bound: BoundModel, items: Sequence[Item], scorer: Scorer | None) -> Cost:
    """Score some items with one scorer; None is the default score alone."""
    scorers = () if scorer is None else (scorer,)
    start = time.perf_counter()
    score_benchmark(bound, items, "target", ScoreSettings(), scorers=scorers)
    seconds = time.perf_counter() - start
    with LiveBytes(bound.model) as live:
        score_benchmark(bound, items[:TRACED], "target", ScoreSettings(), scorers=scorers)
    return Cost(n_passes(scorers), seconds, len(items), live.peak)
