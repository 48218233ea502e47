"""Random neurons with the shape of a given set: the baseline that any claim about the set must beat."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from culnig.core.neurons import POOLS, Layout
from culnig.errors import InputError, SelectionError
from culnig.selection.neuron_set import NeuronSet

Match = Literal["module", "total"]


def select_random(like: NeuronSet, layout: Layout, seed: int, match: Match = "module") -> NeuronSet:
    """As many random neurons as `like` has, none of them in it.

    `match="module"` draws as many in every module and layer as `like` has there. `match="total"` draws from
    all selectable modules together, as the paper does (METHOD §5); which modules a set touches then differs.
    """
    if match not in get_args(Match):
        raise InputError(f"unknown match {match!r}; choose from {', '.join(get_args(Match))}")
    generator = np.random.default_rng(seed)
    taken = like.flat(layout)
    if match == "total":
        drawn = _draw(generator, layout.pool("all"), taken, len(taken), f"pool {', '.join(POOLS['all'])}")
    else:
        drawn = np.concatenate(
            [
                _draw(
                    generator,
                    np.arange(start, start + width),
                    taken,
                    count,
                    f"{module}, layer {layer}",
                )
                for (module, layer), count in sorted(like.count_by_module_and_layer().items())
                for start, width in [
                    (layout.segment(module, layer).start, layout.segment(module, layer).width)
                ]
            ]
            or [np.empty(0, dtype=np.int64)]
        )
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


def _draw(
    generator: np.random.Generator,
    places: NDArray[np.int64],
    taken: NDArray[np.int64],
    count: int,
    where: str,
) -> NDArray[np.int64]:
    free = places[~np.isin(places, taken)]
    if count > len(free):
        raise SelectionError(
            f"{where}: {count} random neurons are needed but only {len(free)} are outside the set; "
            "make the set smaller"
        )
    return generator.choice(free, count, replace=False)
