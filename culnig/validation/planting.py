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


def planted_sets(
    bound: BoundModel, membership: Membership, cultures: tuple[str, ...], seed: int
) -> dict[str, NeuronSet]:
    """The planted sets by culture; the shared one under SHARED."""
    gate = EXPERTS_GATE if EXPERTS_GATE in bound.layout.modules else MLP_GATE
    return {
        name: NeuronSet(
            name=f"planted {name}",
            model=bound.source,
            layout_hash=bound.layout.hash,
            method={"name": "planted", "culture": name, "seed": seed},
            sources=[],
            neurons=tuple(
                Neuron(gate, int(layer), int(index)) for layer, index in np.argwhere(membership == number)
            ),
            scores=np.zeros(int((membership == number).sum())),
        )
        for number, name in enumerate((*cultures, SHARED))
    }


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


def planted_rows(model: Any, membership: torch.Tensor) -> list[PlantedRows]:
    """The planted part of each MLP weight of a decoder."""
    rows = []
    for layer, planted in zip(model.model.layers, membership >= 0, strict=True):
        experts = getattr(layer.mlp, "experts", None)
        if experts is not None:
            rows += _rows_of_experts(experts, planted)
            continue
        for linear, along in (("gate_proj", 1), ("up_proj", 1), ("down_proj", 0)):
            weight = layer.mlp.get_submodule(linear).weight
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
    """Multiplies each item's MLP neurons by 0 or 1, before the down projection."""

    def __init__(self, membership: Membership) -> None:
        import torch

        self._sets = torch.from_numpy(membership)
        self._mask: torch.Tensor | None = None

    def set(self, on: torch.Tensor, generator: torch.Generator) -> None:
        """Draw the neurons that are on; `on` (item, set) holds probabilities, unplanted neurons last."""
        import torch

        probability = on[:, self._sets]  # −1, not planted, selects the last column
        drawn = torch.rand(probability.shape, generator=generator)
        self._mask = (drawn < probability).float()

    @contextlib.contextmanager
    def on(self, layers: Any) -> Iterator[None]:
        """Apply the switch to the layers of a decoder within a context."""
        from culnig.models.experts import projection

        with contextlib.ExitStack() as stack:
            for number, layer in enumerate(layers):
                experts = getattr(layer.mlp, "experts", None)
                if experts is None:
                    hook = layer.mlp.down_proj.register_forward_pre_hook(self._masking(number))
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
