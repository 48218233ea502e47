"""Neurons by relative depth, so that models with different numbers of layers can be compared."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from culnig.selection.neuron_set import NeuronSet

BINS = 10
"""Most bins; never more than the shallowest model has layers."""


def depth_table(neurons: NeuronSet, n_layers: int, modules: Sequence[str], n_bins: int) -> NDArray[np.int64]:
    """Neurons by module and bin of relative depth, shape (module, bin)."""
    table = np.zeros((len(modules), n_bins), dtype=np.int64)
    for (module, layer), count in neurons.count_by_module_and_layer().items():
        table[modules.index(module), depth_bin(layer, n_layers, n_bins)] += count
    return table


def depth_bin(layer: int, n_layers: int, n_bins: int) -> int:
    """The bin of a layer, by the middle of the layer."""
    return (2 * layer + 1) * n_bins // (2 * n_layers)


def modules_of(sets: Sequence[NeuronSet]) -> list[str]:
    """The modules of all sets."""
    return sorted({neuron.module for own in sets for neuron in own.neurons})
