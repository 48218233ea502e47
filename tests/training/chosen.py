"""Neuron sets for plans."""

from __future__ import annotations

import numpy as np

from culnig.core.neurons import Neuron
from culnig.models.base import BoundModel
from culnig.selection.neuron_set import NeuronSet


def neuron_set(bound: BoundModel, neurons: list[Neuron], scores: list[float] | None = None) -> NeuronSet:
    """A set of exactly these neurons."""
    return NeuronSet(
        name="by hand",
        model=bound.source,
        layout_hash=bound.layout.hash,
        method={"name": "by hand"},
        sources=[],
        neurons=tuple(neurons),
        scores=np.array(scores if scores is not None else [1.0] * len(neurons)),
    )


def random_set(bound: BoundModel, n: int = 20, seed: int = 0) -> NeuronSet:
    """Neurons anywhere in the selectable modules."""
    flat = np.random.default_rng(seed).choice(bound.layout.pool("all"), n, replace=False)
    return neuron_set(bound, bound.layout.neurons(flat), np.linspace(2, 1, n).tolist())
