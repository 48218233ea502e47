"""Where the planted neurons are, and how whole sets of them are switched off while training.

A gated MLP multiplies silu(gate) by up and sends the product through one column of the down projection.
These three belong to one MLP neuron and are planted together. The neuron is named by its `mlp.gate_proj`
output, because silu(0) = 0: with the gate at zero, as an intervention sets it, nothing of the neuron is left.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from culnig.neurons import MLP_GATE, Neuron
from culnig.selection.neuron_set import NeuronSet
from culnig.validation.settings import PlantedSettings

if TYPE_CHECKING:
    import torch

    from culnig.bound import BoundModel

SHARED = "shared"
"""Name of the set that all cultures need."""

Membership = NDArray[np.int64]
"""Number of the set of each MLP neuron, shape (layer, neuron): a culture's place, the number of cultures for
the shared set, −1 for a neuron that is not planted."""


def draw_membership(settings: PlantedSettings) -> Membership:
    """Draw the sets. The shared one lies in the lower half of the layers: what all cultures need comes first."""
    generator = np.random.default_rng([settings.seed, 1])
    size = settings.neurons_per_culture
    n_neurons = settings.layers * settings.mlp_width
    membership = np.full(n_neurons, -1)
    lower = (settings.layers + 1) // 2 * settings.mlp_width
    membership[generator.choice(lower, size, replace=False)] = settings.cultures
    free = generator.permutation(np.flatnonzero(membership < 0))
    for culture in range(settings.cultures):
        membership[free[culture * size : (culture + 1) * size]] = culture
    return membership.reshape(settings.layers, settings.mlp_width)


def planted_sets(
    bound: BoundModel, membership: Membership, cultures: tuple[str, ...], seed: int
) -> dict[str, NeuronSet]:
    """The planted sets by culture, and the shared one under SHARED."""
    return {
        name: NeuronSet(
            name=f"planted {name}",
            model=bound.source,
            layout_hash=bound.layout.hash,
            method={"name": "planted", "culture": name, "seed": seed},
            sources=[],
            neurons=tuple(
                Neuron(MLP_GATE, int(layer), int(index))
                for layer, index in np.argwhere(membership == number)
            ),
            scores=np.zeros(int((membership == number).sum())),
        )
        for number, name in enumerate((*cultures, SHARED))
    }


class Switch:
    """Multiplies each item's MLP neurons by a mask, before the down projection."""

    def __init__(self, membership: Membership) -> None:
        import torch

        self._sets = torch.from_numpy(membership)
        self._n_sets = int(membership.max()) + 1
        self._mask: torch.Tensor | None = None

    def set(self, on: torch.Tensor, dropped: torch.Tensor | None = None) -> None:
        """Switch sets on or off per item: `on` is (item, set).

        `dropped`, (item, layer, neuron), switches off single planted neurons as well.
        """
        import torch

        unplanted = torch.ones(len(on), 1)
        self._mask = torch.cat([on.float(), unplanted], dim=1)[:, self._sets]  # −1 is the last column
        if dropped is not None:
            self._mask = self._mask * ~(dropped & (self._sets >= 0))

    @contextlib.contextmanager
    def on(self, layers: Any) -> Iterator[None]:
        """Hook the layers of a decoder for as long as the context lasts."""
        with contextlib.ExitStack() as stack:
            for number, layer in enumerate(layers):
                hook = layer.mlp.down_proj.register_forward_pre_hook(self._masking(number))
                stack.callback(hook.remove)
            yield

    def _masking(self, layer: int) -> Callable[[Any, tuple[torch.Tensor]], tuple[torch.Tensor]]:
        def mask(module: Any, inputs: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
            assert self._mask is not None, "set() comes before a forward pass"
            return (inputs[0] * self._mask[:, layer, None],)

        return mask
