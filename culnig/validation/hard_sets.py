"""Which neurons the hard world plants: overlapping sets of cultures, and decoys.

- Each culture has a set of its own, and all share one: the truth. An eighth of each set are value neurons of
  the attention (`self_attn.v_proj`), the others MLP neurons.
- Related cultures have a quarter of their neurons in common, and unrelated ones an eighth: these neurons are
  superposed and serve different facts of both.
- The shared neurons and those of names are in the lower half of the layers, because others build on them.
- Decoys carry no facts: those of the *answer format* read hints, and those of a culture's *name* are needed
  wherever it is named.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from culnig.core.neurons import MLP_GATE, VALUE
from culnig.selection.neuron_set import NeuronSet
from culnig.validation.planting import SHARED, Membership, neurons_at, planted_set
from culnig.validation.settings import PlantedSettings

if TYPE_CHECKING:
    from culnig.models.base import BoundModel

FORMAT = "answer format"
RELATED, SUPERPOSED, IN_ATTENTION = 4, 8, 8
"""One neuron in so many of a set: common to related cultures, to unrelated ones, in the attention."""


def name_of(culture: str) -> str:
    """Name of the set that reads a culture's name."""
    return f"name of {culture}"


@dataclass(frozen=True)
class HardSets:
    """Planted neurons by set; tables are (set, layer, neuron)."""

    names: tuple[str, ...]
    """The cultures, SHARED, FORMAT, and the name of each culture."""
    mlp: NDArray[np.bool_]
    value: NDArray[np.bool_]

    def governing(self, members: NDArray[np.bool_], n_cultures: int) -> Membership:
        """The set that decides whether a neuron is on for an item, shape (culture or none, layer, neuron).

        A neuron of several sets follows the set of the item's own culture; −1 without a set.
        """
        tables = []
        for own in (*range(n_cultures), None):
            table = np.full(members.shape[1:], -1)
            order = [*range(len(self.names) - 1, -1, -1), *([] if own is None else [own])]
            for number in order:
                table[members[number]] = number
            tables.append(table)
        return np.stack(tables)

    def sets(self, bound: BoundModel, seed: int) -> dict[str, NeuronSet]:
        """All sets by name."""
        return {
            name: planted_set(
                *(bound, name),
                (*neurons_at(MLP_GATE, self.mlp[number]), *neurons_at(VALUE, self.value[number])),
                seed,
            )
            for number, name in enumerate(self.names)
        }


def draw_sets(settings: PlantedSettings, n_values: int) -> HardSets:
    """Draw the sets of a decoder with `n_values` value neurons in a layer; none in the last layer."""
    generator = np.random.default_rng([settings.seed, 11])
    cultures, size = settings.culture_keys, settings.neurons_per_culture
    names = (*cultures, SHARED, FORMAT, *map(name_of, cultures))
    shape = (len(names), settings.layers, settings.mlp_width)
    mlp, value = np.zeros(shape, dtype=bool), np.zeros((len(names), settings.layers, n_values), dtype=bool)
    in_attention = size // IN_ATTENTION
    lower = settings.layers // 2 * settings.mlp_width
    free = list(generator.permutation(lower))
    format_size = name_size = max(1, size // 2)
    shared = [free.pop() for _ in range(size - in_attention)]
    names_of_cultures = [[free.pop() for _ in range(name_size)] for _ in cultures]
    above = np.arange(lower, (settings.layers - 1) * settings.mlp_width)
    free = list(generator.permutation([*free, *above]))
    free_values = list(generator.permutation((settings.layers - 1) * n_values))
    chosen = [[free.pop() for _ in range(size - in_attention)] for _ in cultures]
    _overlap(chosen, size)
    chosen += [shared, [free.pop() for _ in range(format_size)], *names_of_cultures]
    for number, members in enumerate(chosen):
        mlp[number].reshape(-1)[members] = True
    for number in range(len(cultures) + 1):
        value[number].reshape(-1)[[free_values.pop() for _ in range(in_attention)]] = True
    return HardSets(names, mlp, value)


def _overlap(chosen: list[list[int]], size: int) -> None:
    """Give related cultures common neurons, and unrelated ones others, in place."""
    n_cultures = len(chosen)
    for second in range(1, n_cultures, 2):
        chosen[second][: size // RELATED] = chosen[second - 1][: size // RELATED]
    superposed = size // SUPERPOSED
    for first in range(n_cultures // 2):
        second = first + n_cultures // 2
        if superposed and first // 2 != second // 2:
            chosen[second][-superposed:] = chosen[first][-superposed:]
