"""Conditions: the states in which a model is evaluated: as it is, a set scaled, random neurons scaled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from culnig.errors import InputError
from culnig.neurons import Layout
from culnig.selection.neuron_set import NeuronSet
from culnig.selection.random import Match, select_random

UNMASKED = "none"


@dataclass(frozen=True)
class Condition:
    """One state of the model."""

    name: str
    """`none`, a set's name, or `random SEED like NAME`."""
    factor: float
    """What the activations of its neurons are multiplied by; 1 without neurons."""
    flat: NDArray[np.int64]
    """Flat positions of the neurons."""
    like: str | None = None
    """For a random baseline: the condition it is a baseline of."""


def make_conditions(
    sets: Sequence[NeuronSet],
    layout: Layout,
    *,
    factor: float = 0.0,
    n_random: int = 0,
    match: Match = "module",
) -> list[Condition]:
    """`none`, then each set followed by its random baselines (seeds 0, 1, …).

    MismatchError where a set is of another layout; InputError where two sets have one name or a set is empty.
    """
    conditions = [Condition(UNMASKED, 1.0, np.empty(0, dtype=np.int64))]
    for chosen in sets:
        if any(condition.name == chosen.name for condition in conditions):
            raise InputError(f"two neuron sets are named {chosen.name!r}; change `name` in one of the files")
        flat = chosen.flat(layout)
        if not flat.size:
            raise InputError(f"neuron set {chosen.name!r} is empty; select with larger fractions")
        conditions.append(Condition(chosen.name, factor, flat))
        for seed in range(n_random):
            drawn = select_random(chosen, layout, seed, match)
            conditions.append(
                Condition(f"{drawn.name} like {chosen.name}", factor, drawn.flat(layout), like=chosen.name)
            )
    names = [condition.name for condition in conditions]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"two conditions are named {name!r}; change `name` in a neuron-set file")
    return conditions
