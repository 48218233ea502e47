"""Which selected neurons would be selected again from other items, and how much of that is chance.

Every resample is selected from with the same settings. Its Jaccard with the selected set (bootstrap, one
group left out), or of two halves with each other, stands beside the Jaccard of random sets with the same
numbers from the same pools. A neuron's frequency is the share of bootstrap resamples that select it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from culnig.errors import SelectionError
from culnig.selection.neuron_set import NeuronSet
from culnig.selection.similarity import compare
from culnig.selection.tables import SelectionTables

Select = Callable[[SelectionTables], NeuronSet]
"""A selection with fixed settings."""


@dataclass(frozen=True)
class Agreement:
    """Jaccard of pairs of sets."""

    kind: str
    n_pairs: int
    jaccard: float
    """Mean over the pairs."""
    lowest: float
    highest: float
    by_chance: float | None
    """Mean over the pairs of what random sets would give."""


def agreement(kind: str, pairs: Iterable[tuple[NeuronSet, NeuronSet]]) -> Agreement:
    """Jaccard of pairs of sets; SelectionError where there is no pair."""
    found = [compare(first, second) for first, second in pairs]
    if not found:
        raise SelectionError(f"{kind}: no resample was drawn")
    jaccards = [pair.jaccard for pair in found]
    chance = [pair.expected_jaccard for pair in found]
    known = [value for value in chance if value is not None]
    return Agreement(
        kind,
        len(found),
        float(np.mean(jaccards)),
        min(jaccards),
        max(jaccards),
        float(np.mean(known)) if len(known) == len(chance) else None,
    )


def split_half(halves: Iterable[tuple[SelectionTables, SelectionTables]], select: Select) -> Agreement:
    """How alike the selections from two halves of the items are."""
    return agreement("split half", ((select(first), select(second)) for first, second in halves))


def left_out(kind: str, tables: Iterable[SelectionTables], chosen: NeuronSet, select: Select) -> Agreement:
    """How alike the selections without one group are to that from all items."""
    return agreement(f"leave one {kind} out", ((chosen, select(table)) for table in tables))


def bootstrapped(
    tables: Iterable[SelectionTables], chosen: NeuronSet, select: Select
) -> tuple[Agreement, NDArray[np.float64]]:
    """How alike resampled selections are to the selected set, and the frequency of each of its neurons."""
    places = {neuron: place for place, neuron in enumerate(chosen.neurons)}
    counts, again = np.zeros(len(places)), []
    for table in tables:
        found = select(table)
        again.append(found)
        counts[[places[neuron] for neuron in found.neurons if neuron in places]] += 1
    return agreement("bootstrap", ((chosen, found) for found in again)), counts / max(1, len(again))


def with_agreement(chosen: NeuronSet, agreements: list[Agreement]) -> NeuronSet:
    """The set with its agreements; without resamples there are no frequencies."""
    summary = {"agreement": [asdict(found) for found in agreements]}
    return replace(chosen, method={**chosen.method, "stability": summary})


def with_stability(
    chosen: NeuronSet,
    agreements: list[Agreement],
    frequency: NDArray[np.float64],
    *,
    level: float = 0.8,
    rule: bool = False,
) -> NeuronSet:
    """The set with its frequencies and agreements; only neurons of at least `level` where `rule` is set."""
    if not 0 < level <= 1:
        raise SelectionError(f"stable is {level}; a share of the resamples, above 0 and up to 1, is needed")
    stable = frequency >= level
    summary: dict[str, Any] = {
        "agreement": [asdict(found) for found in agreements],
        "level": level,
        "selected": len(chosen.neurons),
        "selected_stable": int(stable.sum()),
        "is_rule": rule,
    }
    marked = replace(
        chosen,
        method={**chosen.method, "stability": summary},
        columns={**chosen.columns, "frequency": frequency},
    )
    return marked.keep(stable) if rule else marked
