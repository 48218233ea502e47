"""How well a ranking of neurons finds planted ones.

A ranking may leave neurons out (exclusion and z remove some for good); what it leaves out is never found.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from culnig.errors import InputError


@dataclass(frozen=True)
class Recovery:
    """A ranking, and a selection, against what was planted."""

    average_precision: float
    """Mean over the planted neurons of the precision at their rank; 0 for one that is not ranked."""
    precision_at_k: float
    """Share of planted ones among the first k, k as many as are planted (then also the recall at k)."""
    selected: float
    """Neurons that the paper's fractions select; a mean where cultures are averaged."""
    selected_precision: float
    """Share of planted ones among the selected, 0 where none is."""
    selected_recall: float
    """Share of the planted ones that are selected."""
    chance: float
    """Planted share of the pool: what AP and precision of a random order come to."""
    average_precision_all: float = float("nan")
    """AP where neurons of all modules are ranked together, not those of the MLP alone."""


def recovery(
    ranking: NDArray[np.int64], selected: NDArray[np.int64], planted: NDArray[np.int64], n_pool: int
) -> Recovery:
    """Judge flat positions, best first, and a selection; InputError where nothing is planted."""
    if not planted.size:
        raise InputError("no neuron is planted, so nothing can be found")
    found = np.isin(ranking, planted)
    precision = np.cumsum(found) / np.arange(1, len(ranking) + 1)
    right = int(np.isin(selected, planted).sum())
    return Recovery(
        average_precision=float(precision[found].sum() / len(planted)),
        precision_at_k=float(found[: len(planted)].sum() / len(planted)),
        selected=len(selected),
        selected_precision=right / max(1, len(selected)),
        selected_recall=right / len(planted),
        chance=len(planted) / n_pool,
    )


def mean_recovery(several: Sequence[Recovery]) -> Recovery:
    """The mean of every figure."""
    columns = zip(*(vars(one).values() for one in several), strict=True)
    return Recovery(*(float(np.mean(column)) for column in columns))
