"""Score tables of the two halves of the questions, from the sums that `score --halves` keeps.

Unlike `resampling.split_halves`, this split is made only once, but it needs no item scores and works for
every scorer of the run.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from culnig.core.moments import CultureMoments
from culnig.errors import SelectionError
from culnig.selection.tables import Roles, SelectionTables
from culnig.store.run import Run, StoredBenchmark


def half_tables(run: Run, roles: Roles) -> tuple[SelectionTables, SelectionTables]:
    """Tables of the first half of the questions and of the second.

    StoreError if the run keeps no halves, SelectionError if a culture has a single question.
    """
    target = _halves(run, roles.target)
    control = None if roles.control is None else _halves(run, roles.control)
    exclusion = None if roles.exclusion is None else _halves(run, roles.exclusion)

    def tables(half: int) -> SelectionTables:
        difference = target[half]
        if control is not None:
            difference -= control[half][roles.control_rows]
        excluded = None
        if exclusion is not None and roles.exclusion is not None:
            cultures = roles.exclusion.cultures
            # the selection uses only the order of these sums, so their scale does not matter
            excluded = CultureMoments.of_sums(cultures, [1] * len(cultures), exclusion[half])
        source = {**roles.source(run), "half": half + 1}
        return SelectionTables(run.layout, roles.target.cultures, difference, excluded, run.model, source)

    return tables(0), tables(1)


def half_kind(run: Run) -> str:
    """What the stored halves rest on, for the tables."""
    if run.record["settings"].get("halves") is True:
        return "split half of each culture's questions, as an earlier version stored them"
    return "split half"


def _halves(run: Run, stored: StoredBenchmark) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Culture scores (culture, neuron) of both halves of a benchmark."""
    n_first, first = run.first_half(stored.name)
    moments = run.moments(stored.name)
    n_second, second = moments.n_items - n_first, moments.sum - first
    lacking = (n_first == 0) | (n_second == 0)
    if lacking.any():
        names = ", ".join(np.array(stored.cultures)[lacking])
        raise SelectionError(
            f"{names}: too few questions in {stored.name!r} to be in both halves; score more items"
        )
    return first / n_first.sum(), second / n_second.sum()
