"""Answers with chosen numbers of right ones."""

from __future__ import annotations

import numpy as np

from culnig.core.items import Item
from culnig.core.outcomes import Outcomes


def answers(n: int, n_right: int, mass: float, *, per_question: int = 1, n_options: int = 4) -> Outcomes:
    """Answers to `n` items; in the first `n_right` gold is the most probable of the labels."""
    labels = tuple("ABCDEFGH"[:n_options])
    items = [Item(str(k), f"q{k // per_question}", "China", "test", "?", labels, "A") for k in range(n)]
    outcomes = Outcomes.empty(items)
    if n == 0:
        return outcomes
    weights = np.full((n, n_options), 1.0)
    weights[np.arange(n), np.where(np.arange(n) < n_right, 0, 1)] = 2.0
    outcomes.option_probabilities[:] = mass * weights / weights.sum(1, keepdims=True)
    return outcomes
