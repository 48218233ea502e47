"""Score tables of the two halves of the questions, from the sums that `score --halves` keeps.

What halves drawn from item scores are many times (`resampling.split_halves`), these are once, without item
scores and for every scorer of the run.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from culnig.core.moments import CultureMoments
from culnig.errors import SelectionError
from culnig.selection.tables import Roles, SelectionTables
from culnig.store.run import Run, StoredBenchmark


def half_tables(run: Run, roles: Roles) -> tuple[SelectionTables, SelectionTables]:
    """Tables of the first half of the questions and of the second.

    StoreError where the run keeps no halves, SelectionError where a culture has a single question.
    """
    target = _halves(run, roles.target)
    control = None if roles.control is None else _halves(run, roles.control)
    exclusion = None if roles.exclusion is None else _halves(run, roles.exclusion)
    made = []
    for number in (0, 1):
        difference = target[number]
        if control is not None:
            difference -= control[number][roles.control_rows]
        excluded = None
        if exclusion is not None and roles.exclusion is not None:
            excluded = replace(
                CultureMoments.zeros(roles.exclusion.cultures, 0),
                n_items=np.ones(len(roles.exclusion.cultures), dtype=np.int64),
                sum=exclusion[number],  # only its order within a culture, or over all, matters
            )
        source = {**roles.source(run), "half": number + 1}
        made.append(
            SelectionTables(run.layout, roles.target.cultures, difference, excluded, run.model, source)
        )
    return made[0], made[1]


def _halves(run: Run, stored: StoredBenchmark) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Culture scores (culture, neuron) of both halves of a benchmark."""
    n_first, first = run.first_half(stored.name)
    moments = run.moments(stored.name)
    n_second, second = moments.n_items - n_first, moments.sum - first
    lacking = (n_first == 0) | (n_second == 0)
    if lacking.any():
        names = ", ".join(np.array(stored.cultures)[lacking])
        raise SelectionError(
            f"{names}: a single question in {stored.name!r}, which cannot be split; score more items"
        )
    return first / n_first.sum(), second / n_second.sum()
