"""Where the planted neurons are, and how training switches whole sets of them off.

A gated MLP multiplies silu(gate) by up and sends the product through one column of the down projection. These
three belong to one MLP neuron and are planted together. The neuron is named by its `mlp.gate_proj` output:
since silu(0) = 0, an intervention that sets the gate to zero removes the whole neuron. Neurons of experts
are counted through all experts of a layer, and keep their weights in 3-D parameters.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from culnig.core.neurons import EXPERTS_GATE, MLP_GATE, Neuron
from culnig.selection.neuron_set import NeuronSet
from culnig.validation.settings import PlantedSettings

if TYPE_CHECKING:
    import torch
    from torch import nn

    from culnig.models.base import BoundModel
    from culnig.models.experts import Routed

SHARED = "shared"
"""Name of the set that all cultures need."""

Membership = NDArray[np.int64]
"""Number of the set of each MLP neuron, shape (layer, neuron): the index of a culture, the number of cultures
for the shared set, or −1 for a neuron that is not planted."""


def draw_membership(settings: PlantedSettings) -> Membership:
    """Draw the sets.

    No set uses the last layer, whose neurons have little influence left. The shared set is in the lower half
    of the layers, because all cultures build on it.
    """
    generator = np.random.default_rng([settings.seed, 1])
    size = settings.neurons_per_culture
    membership = np.full(settings.layers * settings.mlp_width, -1)
    lower = settings.layers // 2 * settings.mlp_width
    membership[generator.choice(lower, size, replace=False)] = settings.cultures
    free = generator.permutation(np.flatnonzero(membership[: -settings.mlp_width] < 0))
    for culture in range(settings.cultures):
        membership[free[culture * size : (culture + 1) * size]] = culture
    return membership.reshape(settings.layers, settings.mlp_width)


def planted_set(bound: BoundModel, name: str, neurons: tuple[Neuron, ...], seed: int) -> NeuronSet:
    """One planted set."""
    return NeuronSet(
        name=f"planted {name}",
        model=bound.source,
        layout_hash=bound.layout.hash,
        method={"name": "planted", "culture": name, "seed": seed},
        sources=[],
        neurons=neurons,
        scores=np.zeros(len(neurons)),
    )


def planted_sets(
    bound: BoundModel, membership: Membership, cultures: tuple[str, ...], seed: int
) -> dict[str, NeuronSet]:
    """The planted sets by culture; the shared one under SHARED."""
    gate = EXPERTS_GATE if EXPERTS_GATE in bound.layout.modules else MLP_GATE
    return {
        name: planted_set(bound, name, neurons_at(gate, membership == number), seed)
        for number, name in enumerate((*cultures, SHARED))
    }


def neurons_at(module: str, chosen: NDArray[np.bool_]) -> tuple[Neuron, ...]:
    """The chosen neurons of a module, from a table (layer, neuron)."""
    return tuple(Neuron(module, int(layer), int(index)) for layer, index in np.argwhere(chosen))


@dataclass(frozen=True)
class PlantedRows:
    """The planted neurons' part of one weight: rows of gate and up, columns of down."""

    weight: nn.Parameter
    planted: torch.Tensor
    """1 for a planted row or column, else 0; broadcasts over the other axis."""
    longest: torch.Tensor
    """Mean norm of the other rows or columns, which no planted one may exceed; broadcasts too."""
    along: int
    """Axis of the weight along which the numbers of one row or column lie."""

    def masked(self, gradient: torch.Tensor) -> torch.Tensor:
        """A gradient of the weight, set to 0 outside the planted part."""
        return gradient * self.planted

    def limit(self) -> None:
        """Shorten planted rows that are too long."""
        weight = self.weight.detach()
        norms = weight.norm(dim=self.along, keepdim=True)
        shorter = (self.longest / norms).clamp(max=1)
        weight.mul_(
            shorter.where(self.planted > 0, shorter.new_ones(()))
        )  # multiplying by 1 leaves the others exactly as they are


MLP = (("mlp.gate_proj", 0), ("mlp.up_proj", 0), ("mlp.down_proj", 1))
"""The weights of an MLP neuron, and the axis along which they lie: rows of gate and up, columns of down."""
MLP_READER = "mlp.down_proj"
"""Reads MLP neurons; those of experts are switched at their gates."""
VALUES = (("self_attn.v_proj", 0), ("self_attn.o_proj", 1))
"""The weights of a value neuron of a decoder with as many value as query heads."""


def planted_rows(
    model: Any, membership: torch.Tensor, weights: tuple[tuple[str, int], ...] = MLP
) -> list[PlantedRows]:
    """The planted part of each of these weights of a decoder; `membership` is (layer, neuron)."""
    rows = []
    for layer, planted in zip(model.model.layers, membership >= 0, strict=True):
        experts = getattr(layer.mlp, "experts", None)
        if experts is not None and weights == MLP:
            rows += _rows_of_experts(experts, planted)
            continue
        for linear, neurons in weights:
            weight, along = layer.get_submodule(linear).weight, 1 - neurons
            norms = weight.detach().norm(dim=along)
            rows.append(PlantedRows(weight, planted.float().unsqueeze(along), norms[~planted].mean(), along))
    return rows


def _rows_of_experts(experts: Any, planted: torch.Tensor) -> list[PlantedRows]:
    """The same of a layer's experts: weights (expert, row, column), gates before ups."""
    import torch

    of_expert = planted.reshape(experts.num_experts, -1)
    norms = experts.gate_up_proj.detach().norm(dim=2)
    longest = torch.stack([half[~of_expert].mean() for half in norms.chunk(2, dim=1)])
    both = torch.cat([of_expert, of_expert], dim=1).float()
    width = of_expert.shape[1]
    down = experts.down_proj.detach().norm(dim=1)
    return [
        PlantedRows(experts.gate_up_proj, both[..., None], longest.repeat_interleave(width)[:, None], 2),
        PlantedRows(experts.down_proj, of_expert.float()[:, None], down[~of_expert].mean(), 1),
    ]


class Switch:
    """Multiplies each item's neurons by 0 or 1 before they are read: MLP neurons by the down projection."""

    def __init__(self, membership: Membership, reader: str = MLP_READER) -> None:
        """`membership` may have one table for each kind of item: (kind, layer, neuron)."""
        import torch

        self._sets = torch.from_numpy(membership)
        self._reader = reader
        self._mask: torch.Tensor | None = None

    def set(self, on: torch.Tensor, generator: torch.Generator, kind: torch.Tensor | None = None) -> None:
        """Draw the neurons that are on; `on` (item, set) holds probabilities, unplanted neurons last.

        `kind` says which table applies to each item.
        """
        import torch

        if kind is None:
            probability = on[:, self._sets]  # −1, not planted, selects the last column
        else:
            sets = self._sets[kind].flatten(1) % on.shape[1]
            probability = on.gather(1, sets).reshape(len(on), *self._sets.shape[1:])
        drawn = torch.rand(probability.shape, generator=generator)
        self._mask = (drawn < probability).float()

    @contextlib.contextmanager
    def on(self, layers: Any) -> Iterator[None]:
        """Apply the switch to the layers of a decoder within a context."""
        from culnig.models.experts import projection

        with contextlib.ExitStack() as stack:
            for number, layer in enumerate(layers):
                experts = getattr(layer.mlp, "experts", None)
                if experts is None or self._reader != MLP_READER:
                    reader = layer.get_submodule(self._reader)
                    hook = reader.register_forward_pre_hook(self._masking(number))
                else:
                    held = projection(experts, f"layer {number}")
                    hook = held.register_forward_hook(self._masking_gates(number))
                stack.callback(hook.remove)
            yield

    def _masking(self, layer: int) -> Callable[[Any, tuple[torch.Tensor]], tuple[torch.Tensor]]:
        def mask(module: Any, inputs: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
            return (inputs[0] * self._drawn(layer)[:, None],)

        return mask

    def _masking_gates(self, layer: int) -> Callable[[Any, Any, torch.Tensor], torch.Tensor]:
        """The same for rows of routed tokens, at their gates: silu(0) = 0."""
        import torch

        def mask(module: Any, inputs: tuple[torch.Tensor, Routed], rows: torch.Tensor) -> torch.Tensor:
            drawn, routed = self._drawn(layer), inputs[1]
            item = routed.token // (routed.n_tokens // len(drawn))
            gate, up = rows.chunk(2, dim=1)
            own = drawn.reshape(len(drawn), module.n_experts, -1)[item, routed.expert]
            return torch.cat([gate * own, up], dim=1)

        return mask

    def _drawn(self, layer: int) -> torch.Tensor:
        """Which neurons of a layer are on, (item, neuron)."""
        assert self._mask is not None, "call set() before a forward pass"
        return self._mask[:, layer]
