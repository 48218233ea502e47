"""The protocol of scorers: what a neuron's activations and gradients in one item amount to.

Gradient × activation is the engine's own and always there. Others are plugins, the built-in ones too: they
see the same pairs in the same pass, and their item scores are summed per culture like those of the engine.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    import torch

GRADIENT_ACTIVATION = "gradient-activation"
"""Name of the engine's own scorer (METHOD §1)."""
RELEASED_CODE = "released-code"
"""Name of the scorer that `--compat paper` means."""


class Scorer(ABC):
    """One way to score. Registered in the entry-point group `culnig.scorers`."""

    name: ClassVar[str]
    summary: ClassVar[str]
    """One line for `list scorers`."""
    weighted: ClassVar[bool] = False
    """Whether item scores are weighted with P(gold), and clamped at zero for a control."""

    @abstractmethod
    def item_scores(
        self, activation: torch.Tensor, gradient: torch.Tensor, real: torch.Tensor
    ) -> torch.Tensor:
        """Scores (item, neuron) from a module's pair (item, token, neuron); `real` (item, token) is bool.

        What stands at tokens that are not real must not matter.
        """


def over_real_tokens(values: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
    """Σ over the real tokens of values (item, token, neuron), float32 (item, neuron)."""
    import torch

    return torch.einsum("itn,it->in", values.float(), real.float())
