"""Set operations on neuron sets: union, intersection, difference, and a comparison of two selections.

All sets of one operation must belong to the same layout, because a neuron's name identifies it only there. A
neuron's order and score come from the first set that contains it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from culnig.core.neurons import Neuron
from culnig.errors import InputError, MismatchError
from culnig.selection.neuron_set import NeuronSet

Operation = Literal["union", "intersect", "minus"]


def check_one_model(sets: Sequence[NeuronSet], at_least: int = 2) -> None:
    """MismatchError if two sets belong to different layouts, InputError if there are too few."""
    if len(sets) < at_least:
        raise InputError(f"{len(sets)} neuron sets given; give at least {at_least}")
    for other in sets[1:]:
        if other.layout_hash != sets[0].layout_hash:
            raise MismatchError(
                f"{sets[0].name!r} belongs to {sets[0].model!r} (layout {sets[0].layout_hash[:12]}), "
                f"{other.name!r} to {other.model!r} (layout {other.layout_hash[:12]}); neurons "
                "of different models cannot be compared; give sets of one model"
            )


def combine(sets: Sequence[NeuronSet], operation: Operation) -> NeuronSet:
    """Neurons in any of the sets, in all of them, or in the first set only."""
    check_one_model(sets)
    first, *further = sets
    scores = {
        neuron: float(score)
        for each in reversed(sets)
        for neuron, score in zip(each.neurons, each.scores, strict=True)
    }
    members = [set(other.neurons) for other in further]
    if operation == "union":
        kept = list(dict.fromkeys(neuron for each in sets for neuron in each.neurons))
    elif operation == "intersect":
        kept = [neuron for neuron in first.neurons if all(neuron in other for other in members)]
    else:
        kept = [neuron for neuron in first.neurons if not any(neuron in other for other in members)]
    sources = {str(source): source for each in sets for source in each.sources}
    return NeuronSet(
        name=f" {_SIGNS[operation]} ".join(each.name for each in sets),
        model=first.model,
        layout_hash=first.layout_hash,
        method={
            "name": operation,
            "of": [
                {"name": each.name, "n_neurons": len(each.neurons), "method": each.method} for each in sets
            ],
        },
        sources=list(sources.values()),
        neurons=tuple(kept),
        scores=np.array([scores[neuron] for neuron in kept]),
    )


_SIGNS = {"union": "∪", "intersect": "∩", "minus": "−"}


@dataclass(frozen=True)
class Difference:
    """The neurons that two sets share, and those in only one of them."""

    names: tuple[str, str]
    """Of the first and of the second set."""
    both: tuple[Neuron, ...]
    only_first: tuple[Neuron, ...]
    only_second: tuple[Neuron, ...]
    settings: dict[str, tuple[Any, Any]]
    """Entries in which the two methods differ, as (first, second)."""

    def by_module(self) -> list[tuple[str, int, int, int]]:
        """(module, both, only first, only second) for every module of either set."""
        groups = (self.both, self.only_first, self.only_second)
        counts = [Counter(neuron.module for neuron in neurons) for neurons in groups]
        return [(m, *(count[m] for count in counts)) for m in sorted(set().union(*counts))]  # type: ignore[misc]


def difference(first: NeuronSet, second: NeuronSet) -> Difference:
    """Compare two sets of one model."""
    check_one_model([first, second])
    in_first, in_second = set(first.neurons), set(second.neurons)
    method, other = _flattened(first.method), _flattened(second.method)
    return Difference(
        (first.name, second.name),
        tuple(neuron for neuron in first.neurons if neuron in in_second),
        tuple(neuron for neuron in first.neurons if neuron not in in_second),
        tuple(neuron for neuron in second.neurons if neuron not in in_first),
        {
            key: (method.get(key), other.get(key))
            for key in {**method, **other}
            if method.get(key) != other.get(key)
        },
    )


def _flattened(method: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in method.items():
        if isinstance(value, dict):
            flat |= _flattened(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
