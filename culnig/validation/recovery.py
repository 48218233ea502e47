"""How well a ranking of neurons finds the planted ones.

A ranking may omit neurons, because exclusion and z remove some. Omitted neurons count as not found.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from culnig.errors import InputError


@dataclass(frozen=True)
class Recovery:
    """Scores of a ranking and a selection against the planted neurons."""

    average_precision: float
    """Mean over the planted neurons of the precision at their rank; 0 for an omitted neuron."""
    precision_at_k: float
    """Share of planted neurons among the first k, where k are planted; equals the recall at k."""
    selected: float
    """Number of neurons that the paper's fractions select, or its mean over cultures."""
    selected_precision: float
    """Share of planted neurons among the selected ones; 0 if none are selected."""
    selected_recall: float
    """Share of the planted neurons that are selected."""
    chance: float
    """Share of planted neurons in the pool: the expected precision of a random order."""
    chance_average_precision: float
    """Expected AP of a random order of the ranked neurons (`expected_average_precision`)."""
    average_precision_all: float = float("nan")
    """AP if the neurons of all modules are ranked together, not only those of the MLP."""
    chance_average_precision_all: float = float("nan")
    """Its expected value in a random order."""


def recovery(
    ranking: NDArray[np.int64], selected: NDArray[np.int64], planted: NDArray[np.int64], n_pool: int
) -> Recovery:
    """Score a ranking and a selection, both flat indices, best first; InputError without planted neurons."""
    if not planted.size:
        raise InputError("no neuron is planted; plant at least one")
    hits = np.isin(ranking, planted)
    precision = np.cumsum(hits) / np.arange(1, len(ranking) + 1)
    n_selected = int(np.isin(selected, planted).sum())
    return Recovery(
        average_precision=float(precision[hits].sum() / len(planted)),
        precision_at_k=float(hits[: len(planted)].sum() / len(planted)),
        selected=len(selected),
        selected_precision=n_selected / max(1, len(selected)),
        selected_recall=n_selected / len(planted),
        chance=len(planted) / n_pool,
        chance_average_precision=expected_average_precision(len(ranking), int(hits.sum()), len(planted)),
    )


def expected_average_precision(n_ranked: int, n_hits: int, n_planted: int) -> float:
    """Expected AP of a random order of `n_ranked` neurons, `n_hits` of them among the `n_planted` planted.

    A hit at rank i has an expected precision of (1 + (i − 1)·(hits − 1)/(ranked − 1))/i, and every rank is
    equally likely. With the harmonic number H = Σ 1/i, the mean over ranks is (H + (hits − 1)/(ranked − 1) ·
    (ranked − H))/ranked. Planted neurons that are not ranked count 0.
    """
    if not n_hits:
        return 0.0
    harmonic = float((1 / np.arange(1, n_ranked + 1)).sum())
    other_hits = (n_hits - 1) / max(1, n_ranked - 1)
    return n_hits / n_planted * (harmonic + other_hits * (n_ranked - harmonic)) / n_ranked


def mean_recovery(several: Sequence[Recovery]) -> Recovery:
    """The mean of every figure."""
    columns = zip(*(vars(each).values() for each in several), strict=True)
    return Recovery(*(float(np.mean(column)) for column in columns))
