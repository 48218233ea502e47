"""The protocol of scorers: from a neuron's activations and gradients in one item to a score.

Gradient × activation is the default score and always computed. All other scorers are plugins, the built-in
ones too: they see the same pairs in the same pass, and their item scores are summed per culture alike.
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal

if TYPE_CHECKING:
    import torch

    from culnig.kernels.base import TokenSums

GRADIENT_ACTIVATION = "gradient-activation"
"""Name of the default score (docs/method.md)."""
RELEASED_CODE = "released-code"
"""Name of the scorer of `--compat paper`."""

Weight = Literal["gold", "wrong"]
"""P(gold), or the probability of the most probable wrong label."""

Target = Literal["wrong", "log-odds", "path", "relevance", "relevance-log-odds"]
"""Targets that are differentiated in addition to P(gold).

`wrong`: the probability of the most probable wrong label. `log-odds`: log P(gold) − log of the probability of
all other labels together. `path`: P(gold), its gradient averaged over PATH_STEPS steps in which the outputs
of all modules grow from zero to their own values. `relevance` and `relevance-log-odds`: P(gold) and the
log-odds, in a backward pass by relevance rules (`culnig.inference.relevance.rules`).
"""
BY_RULES: tuple[Target, ...] = ("relevance", "relevance-log-odds")
"""Targets whose backward pass follows relevance rules."""
PATH_STEPS = 20


@dataclass(frozen=True)
class Pair:
    """One module's activations and gradients in a batch; tensors are (item, token, neuron)."""

    activation: torch.Tensor
    gradient: torch.Tensor
    """Gradient of P(gold), or of the log-probability of the gold text where options are read as texts."""
    real: torch.Tensor
    """Which tokens are real, not padding: bool (item, token)."""
    gradients: Mapping[Target, torch.Tensor] = field(default_factory=dict)
    """Gradients of the scorer's other targets."""

    @functools.cached_property
    def token_sums(self) -> TokenSums:
        """Σ |activation|, positive tokens and √ Σ gradient² over real tokens: one read for all scorers."""
        from culnig.kernels.choice import choose_backend

        return choose_backend(self.activation.device).token_sums(self.activation, self.gradient, self.real)

    def highest(self, values: torch.Tensor) -> torch.Tensor:
        """Maximum over the real tokens of values (item, token, neuron), (item, neuron)."""
        return values.masked_fill(~self.real[..., None], float("-inf")).amax(dim=1)


class Scorer(ABC):
    """A way to score neurons, registered in the entry-point group `culnig.scorers`."""

    name: ClassVar[str]
    summary: ClassVar[str]
    """One line for `list scorers`."""
    weight: ClassVar[Weight | None] = None
    """Weight of item scores; with a weight, the scores of a control are clamped at zero."""
    targets: ClassVar[tuple[Target, ...]] = ()
    """Other targets whose gradients are needed. Each costs passes of its own and memory for gradients."""

    @abstractmethod
    def item_scores(self, pair: Pair) -> torch.Tensor:
        """Scores (item, neuron) of one module's neurons; values at padding must not matter."""


class GradientOfTarget(Scorer):
    """max_t of activation × gradient of one target that has a single backward pass.

    It is scored in that pass, as gradient × activation is, so no gradients are kept for it.
    """

    def item_scores(self, pair: Pair) -> torch.Tensor:
        """See `Scorer`."""
        return pair.highest(pair.activation.float() * pair.gradients[self.targets[0]].float())
