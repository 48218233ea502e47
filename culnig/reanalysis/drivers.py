"""What drives a neuron: the items, and the tokens in them, that give it its highest scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from culnig import kernels
from culnig.reanalysis.aggregation import Aggregation
from culnig.reanalysis.sources import Source, StoredScores, StoredTensors
from culnig.store.data_parts import Prompts
from culnig.store.run import Run

_MEMORY = 256 << 20


class Driver(NamedTuple):
    """One item's score for a neuron."""

    item: int
    """Index in the benchmark's item table."""
    score: float
    """Weighted with P(gold)."""
    token: int
    """Index of the token that gave it, in the prompt."""
    text: str
    """That token."""


def drivers(run: Run, benchmark: str, flat: NDArray[np.int64], n_items: int = 3) -> list[list[Driver]]:
    """The items that raise each neuron (flat indices) most, best first.

    StoreError if the run stores neither item scores nor tensors.
    """
    source: Source
    if run.level == "token":
        aggregation = Aggregation(str(run.record["settings"]["aggregator"]))
        source = StoredTensors(run, benchmark, aggregation, _MEMORY)
    else:
        source = StoredScores(run, benchmark)
    p_gold = run.outcomes(benchmark).p_gold
    best: list[list[Driver]] = [[] for _ in flat]
    stored = set(run.stored_segments(benchmark)) if run.level == "token" else set(run.layout.segments)
    for segment, positions, index in run.layout.by_segment(flat):
        if segment not in stored:
            continue
        for part in source.parts:
            scores, peaks = source.scores(part, [segment])
            weighted = scores * p_gold[part.prompts.item][:, None]
            for neuron, column in zip(positions.tolist(), index.tolist(), strict=True):
                rows = np.argsort(-weighted[:, column], kind="stable")[:n_items]
                best[neuron] += [
                    _driver(part.prompts, int(row), float(weighted[row, column]), int(peaks[row, column]))
                    for row in rows
                ]
    return [sorted(each, key=lambda driver: (-driver.score, driver.item))[:n_items] for each in best]


def _driver(prompts: Prompts, row: int, score: float, token: int) -> Driver:
    ids = prompts.tokens(row)
    text = prompts.vocabulary.get(int(ids[token]), "") if 0 <= token < len(ids) else ""
    return Driver(int(prompts.item[row]), score, token, text)


def best_neurons(
    run: Run, benchmark: str, control: str | None, n: int
) -> tuple[NDArray[np.int64], Sequence[float]]:
    """Flat indices and differences of the neurons with the highest target − control, over all cultures."""
    target = run.moments(benchmark)
    total = target.culture_scores.sum(axis=0)
    if control is not None:
        total = total - run.moments(control).culture_scores.sum(axis=0)
    best = kernels.top_k(total, min(n, len(total)))
    return best, total[best].tolist()
