"""Random neurons that match a given set: the baseline for every claim about the set."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from culnig.core.neurons import POOLS, Layout, Segment
from culnig.errors import InputError, SelectionError
from culnig.selection.neuron_set import NeuronSet

Match = Literal["module", "total"]


def select_random(like: NeuronSet, layout: Layout, seed: int, match: Match = "module") -> NeuronSet:
    """As many random neurons as `like` has, none of them from `like`.

    `match="module"` draws as many neurons from each module and layer, and from each expert, as `like` has
    there. `match="total"` draws from the whole pool `all`, as the paper does (docs/method.md, Masking and
    evaluation), so modules and layers differ from those of `like`. SelectionError if too few neurons are
    outside the set.
    """
    if match not in get_args(Match):
        raise InputError(f"unknown match {match!r}; choose from {', '.join(get_args(Match))}")
    generator = np.random.default_rng(seed)
    taken = like.flat(layout)
    if match == "total":
        drawn = _draw(generator, layout.pool("all"), taken, len(taken), f"pool {', '.join(POOLS['all'])}")
    else:
        draws = [np.empty(0, dtype=np.int64)]
        for module, layer in sorted(like.count_by_module_and_layer()):
            draws += _from_segment(generator, layout.segment(module, layer), taken)
        drawn = np.concatenate(draws)
    drawn.sort()
    return NeuronSet(
        name=f"random {seed}",
        model=like.model,
        layout_hash=like.layout_hash,
        method={"name": "random", "seed": seed, "match": match, "like": like.method},
        sources=like.sources,
        neurons=tuple(layout.neurons(drawn)),
        scores=np.zeros(len(drawn)),
    )


def _from_segment(
    generator: np.random.Generator, segment: Segment, taken: NDArray[np.int64]
) -> list[NDArray[np.int64]]:
    """As many neurons of a segment as a set has there, and of each expert."""
    width = segment.width // segment.experts
    own = taken[(taken >= segment.start) & (taken < segment.start + segment.width)] - segment.start
    draws = []
    for expert, count in zip(*np.unique(own // width, return_counts=True), strict=True):
        where = f"{segment.module}, layer {segment.layer}"
        where += f", expert {expert}" if segment.experts > 1 else ""
        indices = np.arange(width) + segment.start + expert * width
        draws.append(_draw(generator, indices, taken, int(count), where))
    return draws


def _draw(
    generator: np.random.Generator,
    indices: NDArray[np.int64],
    taken: NDArray[np.int64],
    count: int,
    source: str,
) -> NDArray[np.int64]:
    free = indices[~np.isin(indices, taken)]
    if count > len(free):
        raise SelectionError(
            f"{source}: {count} random neurons are needed, but only {len(free)} are outside the set; "
            "use a smaller set"
        )
    return generator.choice(free, count, replace=False)
