"""Conditions: the states in which a model is evaluated: unmasked, a set masked, random neurons masked.

Several factors or sizes of one set make a dose series; each dose is a condition with baselines of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from culnig.core.neurons import POOLS, Layout
from culnig.errors import InputError
from culnig.selection.neuron_set import NeuronSet
from culnig.selection.random import Match, select_random

UNMASKED = "unmasked"
_FORMER_NAMES = {"none": UNMASKED}
"""Current names of conditions that the first edition named differently."""
Mask = Literal["scale", "mean", "resample"]
"""Neurons are multiplied by the factor, or replaced by their mean or by their values in other prompts."""
DOSE_FACTORS = (0.0, 0.25, 0.5, 1.0, 1.5, 2.0)


def current_name(condition: str) -> str:
    """The current name of a condition; the first edition called the unmasked model `none`."""
    return _FORMER_NAMES.get(condition, condition)


@dataclass(frozen=True)
class Condition:
    """One state of the model."""

    name: str
    """`unmasked`, a set's name (with its dose, where there are several), or `random SEED like NAME`."""
    factor: float
    """What the activations of its neurons are multiplied by; 1 without neurons, 0 where they are replaced."""
    flat: NDArray[np.int64]
    """Flat indices of the neurons."""
    like: str | None = None
    """For a random baseline: the condition it is a baseline of."""
    of_set: str | None = None
    """Name of the neuron set, whatever the dose; None for the unmasked model."""
    share: float = 1.0
    """Share of the set's neurons that is scaled, best first."""
    culture: str | None = None
    """The culture that the set is specific to, if its method names one."""
    mask: Mask = "scale"

    @property
    def by_item(self) -> bool:
        """Whether items are changed differently, so that they cannot share tokens."""
        return self.mask == "resample"


def make_conditions(
    sets: Sequence[NeuronSet],
    layout: Layout,
    *,
    factor: float | Sequence[float] = 0.0,
    shares: Sequence[float] = (1.0,),
    n_random: int = 0,
    match: Match = "module",
    mask: Mask = "scale",
    seed: int = 0,
) -> list[Condition]:
    """`unmasked`, then each dose of each set followed by its random baselines (seeds `seed`, `seed` + 1, …).

    Doses are all pairs of `shares` and factors; a factor of 1 among several is the unmasked model and is not
    computed again. A mask other than `scale` takes no factor. MismatchError if a set is of another layout;
    InputError if two sets have one name, a set is empty, or a share is not within (0, 1].
    """
    factors = [float(factor)] if isinstance(factor, int | float) else [float(f) for f in factor]
    if mask != "scale" and factors != [0.0]:
        raise InputError(f"mask {mask!r} replaces activations, so it takes no factor")
    several = len(factors) * len(shares) > 1
    conditions = [Condition(UNMASKED, 1.0, np.empty(0, dtype=np.int64))]
    for chosen in sets:
        if any(condition.of_set == chosen.name for condition in conditions):
            raise InputError(f"two neuron sets are named {chosen.name!r}; change `name` in one of the files")
        if not chosen.flat(layout).size:
            raise InputError(f"neuron set {chosen.name!r} is empty; select with larger fractions")
        for share in dict.fromkeys(shares):
            part = best_share(chosen, share)
            for dose in dict.fromkeys(factors):
                if several and dose == 1.0:
                    continue
                own = Condition(
                    condition_name(chosen.name, dose, share, mask, several=several),
                    dose,
                    part.flat(layout),
                    of_set=chosen.name,
                    share=share,
                    culture=_culture_of(chosen),
                    mask=mask,
                )
                conditions += _with_baselines(own, part, layout, range(seed, seed + n_random), match)
    names = [condition.name for condition in conditions]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"two conditions are named {name!r}; change `name` in a neuron-set file")
    return conditions


def _culture_of(chosen: NeuronSet) -> str | None:
    culture = chosen.method.get("culture")
    return culture if isinstance(culture, str) else None


def _with_baselines(
    own: Condition, part: NeuronSet, layout: Layout, seeds: Sequence[int], match: Match
) -> list[Condition]:
    drawn = [select_random(part, layout, seed, match) for seed in seeds]
    return [
        own,
        *(
            replace(
                own,
                name=f"{random.name} like {own.name}",
                flat=random.flat(layout),
                like=own.name,
                culture=None,
            )
            for random in drawn
        ),
    ]


def condition_name(set_name: str, factor: float, share: float, mask: Mask, *, several: bool) -> str:
    """`general`; among several doses `general ×0.5`, `general best 10 % ×0`; replaced, `general (mean)`."""
    part = "" if share == 1.0 else f" best {100 * share:g} %"
    if mask != "scale":
        return f"{set_name}{part} ({mask})"
    return f"{set_name}{part} ×{factor:g}" if several else set_name


def best_share(chosen: NeuronSet, share: float) -> NeuronSet:
    """The best neurons of a set: this share of those in each pool, at least one where there are any.

    Ranks of different pools cannot be compared, so each pool is cut by itself. A set made with
    the top 2 % of a pool and cut to 0.05 is what the top 0.1 % would have kept. InputError outside (0, 1].
    """
    if not 0 < share <= 1:
        raise InputError(
            f"share {share:g} of a set is not within (0, 1]; 0.5, for example, masks the "
            "better half of the set"
        )
    if share == 1:
        return chosen
    pool = {module: name for name in ("mlp", "attention") for module in POOLS[name]}
    pools = [pool.get(neuron.module, neuron.module) for neuron in chosen.neurons]
    keep = {name: max(1, round(share * pools.count(name))) for name in set(pools)}
    kept = []
    for index, name in enumerate(pools):
        if keep[name] > 0:
            keep[name] -= 1
            kept.append(index)
    return replace(
        chosen,
        neurons=tuple(chosen.neurons[index] for index in kept),
        scores=chosen.scores[kept],
        method={**chosen.method, "best_share": share},
    )
