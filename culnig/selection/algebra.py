"""Neuron sets put together: union, intersection, difference, and what two selections do not share.

All sets of one operation must belong to one layout: the same place means the same neuron only there. Order
and scores follow the first set that has a neuron.
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
    """MismatchError where two sets belong to different layouts, InputError where there are too few."""
    if len(sets) < at_least:
        raise InputError(f"{len(sets)} neuron sets given; at least {at_least} are needed")
    for other in sets[1:]:
        if other.layout_hash != sets[0].layout_hash:
            raise MismatchError(
                f"{sets[0].name!r} belongs to {sets[0].model!r} (layout {sets[0].layout_hash[:12]}), "
                f"{other.name!r} to {other.model!r} (layout {other.layout_hash[:12]}); neurons of different "
                "models cannot be compared, give sets of one model"
            )


def combine(sets: Sequence[NeuronSet], operation: Operation) -> NeuronSet:
    """Neurons in any of the sets, in all of them, or in the first and none of the others."""
    check_one_model(sets)
    first, *others = sets
    scores = {
        neuron: float(score)
        for those in reversed(sets)
        for neuron, score in zip(those.neurons, those.scores, strict=True)
    }
    if operation == "union":
        kept = list(dict.fromkeys(neuron for those in sets for neuron in those.neurons))
    else:
        members = [set(those.neurons) for those in others]
        wanted = all if operation == "intersect" else _none
        kept = [neuron for neuron in first.neurons if wanted(neuron in those for those in members)]
    sources = {str(source): source for those in sets for source in those.sources}
    return NeuronSet(
        name=f" {_SIGNS[operation]} ".join(those.name for those in sets),
        model=first.model,
        layout_hash=first.layout_hash,
        method={
            "name": operation,
            "of": [
                {"name": those.name, "n_neurons": len(those.neurons), "method": those.method}
                for those in sets
            ],
        },
        sources=list(sources.values()),
        neurons=tuple(kept),
        scores=np.array([scores[neuron] for neuron in kept]),
    )


_SIGNS = {"union": "∪", "intersect": "∩", "minus": "−"}


def _none(values: Any) -> bool:
    return not any(values)


@dataclass(frozen=True)
class Difference:
    """What two sets share and what they do not."""

    names: tuple[str, str]
    """Of the first and of the second set."""
    both: tuple[Neuron, ...]
    only_first: tuple[Neuron, ...]
    only_second: tuple[Neuron, ...]
    settings: dict[str, tuple[Any, Any]]
    """Entries of the two methods that differ, first and second."""

    def by_module(self) -> list[tuple[str, int, int, int]]:
        """(module, both, only first, only second) for every module of either set."""
        counts = [
            Counter(neuron.module for neuron in those)
            for those in (self.both, self.only_first, self.only_second)
        ]
        return [(m, *(count[m] for count in counts)) for m in sorted(set().union(*counts))]  # type: ignore[misc]


def difference(first: NeuronSet, second: NeuronSet) -> Difference:
    """Compare two sets of one model."""
    check_one_model([first, second])
    in_first, in_second = set(first.neurons), set(second.neurons)
    one, two = _flattened(first.method), _flattened(second.method)
    return Difference(
        (first.name, second.name),
        tuple(neuron for neuron in first.neurons if neuron in in_second),
        tuple(neuron for neuron in first.neurons if neuron not in in_second),
        tuple(neuron for neuron in second.neurons if neuron not in in_first),
        {key: (one.get(key), two.get(key)) for key in {**one, **two} if one.get(key) != two.get(key)},
    )


def _flattened(method: dict[str, Any], above: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in method.items():
        if isinstance(value, dict):
            flat |= _flattened(value, f"{above}{key}.")
        else:
            flat[above + key] = value
    return flat
