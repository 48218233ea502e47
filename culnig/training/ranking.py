"""Units of a model that are trained together, ranked by the selected neurons they hold.

A unit is the MLP of a layer, a single module, or a whole layer. Ties in the number of neurons are broken by
their summed score (and the other way round), then by the order of the model. `bottom` is the same ranking
read from its end. A unit is taken if it still fits the budget.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from culnig.core.neurons import POOLS
from culnig.errors import InputError, SelectionError, argument
from culnig.models.base import BoundModel
from culnig.selection.neuron_set import NeuronSet
from culnig.training.weights import MLP, Part, Weights

Granularity = Literal["mlp", "module", "layer"]
Direction = Literal["top", "bottom", "random"]
RankBy = Literal["count", "score"]


@dataclass(frozen=True)
class Unit:
    """Weights that are trained together or not at all."""

    name: str
    """`mlp`, `layer`, or the name of a module."""
    layer: int
    n_neurons: int
    """Selected neurons in it."""
    score: float
    """Sum of their scores."""
    n_parameters: int
    parts: tuple[Part, ...]

    @property
    def title(self) -> str:
        """For messages."""
        return f"layer {self.layer}" if self.name == "layer" else f"{self.name} of layer {self.layer}"


def units(bound: BoundModel, weights: Weights, chosen: NeuronSet, granularity: Granularity) -> list[Unit]:
    """All units of a model, layer by layer; MismatchError if the set belongs to another model."""
    if granularity not in get_args(Granularity):
        raise InputError(f"unknown granularity {granularity!r}; choose {', '.join(get_args(Granularity))}")
    chosen.flat(bound.layout)
    counts = chosen.count_by_module_and_layer()
    scores: dict[tuple[str, int], float] = {}
    for neuron, score in zip(chosen.neurons, chosen.scores.tolist(), strict=True):
        key = (neuron.module, neuron.layer)
        scores[key] = scores.get(key, 0.0) + score
    # up_proj is not selected by default: as a module of its own it would always come last
    ranked = {*POOLS["all"], *(module for module, _ in counts)}
    units = []
    for layer in range(bound.layout.n_layers):
        members: list[tuple[str, list[str], list[Part]]]
        modules = [module for module in bound.layout.modules if bound.layout.has(module, layer)]
        if granularity == "module":
            members = [(m, [m], weights.module(m, layer)) for m in modules if m in ranked]
        elif granularity == "mlp":
            of_mlp = [module for module in modules if module.startswith(MLP)]
            members = [("mlp", of_mlp, weights.below(weights.mlp_path(layer)))] if of_mlp else []
        else:
            members = [("layer", modules, weights.below(weights.layer_path(layer)))]
        for name, inside, parts in members:
            keys = [(module, layer) for module in inside]
            units.append(
                Unit(
                    name=name,
                    layer=layer,
                    n_neurons=sum(counts.get(key, 0) for key in keys),
                    score=sum(scores.get(key, 0.0) for key in keys),
                    n_parameters=sum(part.n_parameters for part in parts),
                    parts=tuple(parts),
                )
            )
    return units


def ranked(units: Sequence[Unit], direction: Direction, by: RankBy = "count", seed: int = 0) -> list[Unit]:
    """The units, first to be trained first."""
    if direction not in get_args(Direction):
        raise InputError(f"unknown direction {direction!r}; choose {', '.join(get_args(Direction))}")
    if by not in get_args(RankBy):
        raise InputError(f"modules cannot be ranked by {by!r}; choose {', '.join(get_args(RankBy))}")
    if direction == "random":
        return [units[index] for index in np.random.default_rng(seed).permutation(len(units))]
    keys = [(u.n_neurons, u.score) if by == "count" else (u.score, u.n_neurons) for u in units]
    order = sorted(range(len(units)), key=lambda index: (-keys[index][0], -keys[index][1], index))
    return [units[index] for index in (order if direction == "top" else reversed(order))]


def within_budget(order: Sequence[Unit], budget: float, n_parameters: int) -> list[Unit]:
    """The units that fit a share of the model's parameters, taken in order.

    SelectionError if none fits; InputError if the budget is not a share.
    """
    if not 0 < budget <= 1:
        raise InputError(f"budget {budget:g} is not a share of the parameters; give one within (0, 1]")
    taken, left = [], budget * n_parameters
    for unit in order:
        if unit.n_parameters <= left:
            taken.append(unit)
            left -= unit.n_parameters
    if not taken:
        smallest = min(order, key=lambda unit: unit.n_parameters)
        raise SelectionError(
            f"a budget of {100 * budget:g} % ({int(budget * n_parameters):,} of {n_parameters:,} parameters) "
            f"fits nothing: the smallest unit, {smallest.title}, has {smallest.n_parameters:,} "
            f"({100 * smallest.n_parameters / n_parameters:.2f} %); give a larger "
            f"{argument('budget')} or a finer {argument('granularity')}"
        )
    return taken
