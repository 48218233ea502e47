"""How many selected neurons would be selected again from other items, compared with chance.

The selection is repeated with the same settings on every resample. The resulting set is compared with the
original one (bootstrap, leave one group out) or with that of the other half (split half) by their Jaccard
index, next to the index expected of random sets of the same sizes from the same pools. A neuron's frequency
is the share of bootstrap resamples that select it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from culnig.errors import SelectionError, option
from culnig.selection.neuron_set import NeuronSet
from culnig.selection.similarity import compare
from culnig.selection.tables import SelectionTables

Select = Callable[[SelectionTables], NeuronSet]
"""A selection with fixed settings."""


@dataclass(frozen=True)
class Agreement:
    """Jaccard index of pairs of neuron sets."""

    kind: str
    n_pairs: int
    jaccard: float
    """Mean over the pairs."""
    lowest: float
    highest: float
    by_chance: float | None
    """Mean over the pairs of the index expected of random sets; None if a pool is unknown."""


def agreement(kind: str, pairs: Iterable[tuple[NeuronSet, NeuronSet]]) -> Agreement:
    """Jaccard index of pairs of sets; SelectionError without a pair."""
    compared = [compare(first, second) for first, second in pairs]
    if not compared:
        raise SelectionError(f"{kind}: no resample was drawn")
    jaccards = [pair.jaccard for pair in compared]
    chance = [pair.expected_jaccard for pair in compared]
    known = [value for value in chance if value is not None]
    return Agreement(
        kind,
        len(compared),
        float(np.mean(jaccards)),
        min(jaccards),
        max(jaccards),
        float(np.mean(known)) if len(known) == len(chance) else None,
    )


def split_half(
    halves: Iterable[tuple[SelectionTables, SelectionTables]], select: Select, kind: str = "split half"
) -> Agreement:
    """Agreement of the selections from two halves of the items."""
    return agreement(kind, ((select(first), select(second)) for first, second in halves))


def left_out(kind: str, tables: Iterable[SelectionTables], chosen: NeuronSet, select: Select) -> Agreement:
    """Agreement of the selections that leave out one group with the selection from all items."""
    return agreement(f"leave one {kind} out", ((chosen, select(table)) for table in tables))


def bootstrapped(
    tables: Iterable[SelectionTables], chosen: NeuronSet, select: Select
) -> tuple[Agreement, NDArray[np.float64]]:
    """Agreement of resampled selections with the selected set, and the frequency of each of its neurons."""
    rank_of = {neuron: rank for rank, neuron in enumerate(chosen.neurons)}
    counts, resampled = np.zeros(len(rank_of)), [select(table) for table in tables]
    for neurons in resampled:
        counts[[rank_of[neuron] for neuron in neurons.neurons if neuron in rank_of]] += 1
    pairs = ((chosen, neurons) for neurons in resampled)
    return agreement("bootstrap", pairs), counts / max(1, len(resampled))


def with_agreement(
    chosen: NeuronSet, agreements: list[Agreement], n_questions: int | None = None
) -> NeuronSet:
    """The set with its agreements, where halves instead of resamples give no frequencies."""
    summary = {"n_questions": n_questions, "agreement": [asdict(each) for each in agreements]}
    return replace(chosen, method={**chosen.method, "stability": summary})


def with_stability(
    chosen: NeuronSet,
    agreements: list[Agreement],
    frequency: NDArray[np.float64],
    *,
    n_questions: int | None = None,
    level: float = 0.8,
    rule: bool = False,
) -> NeuronSet:
    """The set with its frequencies and agreements; with `rule`, only the neurons of at least that `level`.

    `n_questions` are the questions that were drawn from.
    """
    if not 0 < level <= 1:
        raise SelectionError(
            f"{option('stable', level)} is not a share of the resamples; give a number above 0 and up to 1"
        )
    stable = frequency >= level
    summary: dict[str, Any] = {
        "n_questions": n_questions,
        "agreement": [asdict(each) for each in agreements],
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
