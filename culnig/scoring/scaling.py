"""Powers of two that keep the gradients of a small target inside the number format of the backward pass.

The gradient of P(gold) is P(gold) times that of log P(gold). With P(gold) = 1e-8 most of it is below the
smallest float16 (6e-8) and would be zero. So each item's target is multiplied by a power of two before the
backward pass and its gradients are divided by it afterwards, in a wider format. Items do not mix, so each
has a power of its own. A power of two changes no digit of a number, so nothing changes where nothing
underflowed. float32 and bfloat16 are scaled only where P(gold) nears the end of their own range (1e-38).

A power that lets an item's gradients overflow is lowered and the pass repeated. The powers depend only on the
item's own numbers, so a resumed run chooses the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

Exponents = NDArray[np.int64]
"""Exponent of the power of two that each item's target is multiplied by, (item,)."""

HEADROOM = 10
"""float16: the target is scaled to 2^10, because gradients inside a model are smaller than the target."""
LEAST_EXPONENT = -64
"""Other formats: a target below 2^-64 is scaled to about 1."""
MOST_EXPONENT = 120
"""Largest exponent, inside float32."""
LOWER_BY = 8
"""By how many powers of two an item's target is lowered when its gradients overflow."""
ATTEMPTS = 5
"""How often a target is tried, ever lower, before overflow is an error."""


def is_narrow(model: torch.nn.Module) -> bool:
    """Whether a model computes in float16, whose smallest number is 6e-8."""
    import torch

    return any(parameter.dtype == torch.float16 for parameter in model.parameters())


def target_exponents(sizes: NDArray[np.float64] | None, n_items: int, *, narrow: bool) -> Exponents:
    """Exponents for targets of these sizes, (item,); None for targets of about 1, such as log-odds."""
    sizes_of = np.ones(n_items) if sizes is None else sizes
    own = np.frexp(sizes_of)[1].astype(np.int64)  # size = m · 2^own with 0.5 ≤ m < 1
    exponents = HEADROOM - own if narrow else np.where(own < LEAST_EXPONENT, -own, 0)
    exponents[sizes_of == 0] = 0
    return np.minimum(exponents, MOST_EXPONENT)


class Scale:
    """The powers of two of a batch's targets, copied to each device once."""

    def __init__(self, exponents: Exponents) -> None:
        self.exponents = exponents
        self._is_one = not exponents.any()
        self._powers: dict[tuple[torch.device, torch.dtype, int], torch.Tensor] = {}

    def of(self, target: torch.Tensor) -> torch.Tensor:
        """The target (item,) times its powers; itself where all are 1."""
        return target if self._is_one else target * self._on(target.device, target.dtype, 1)

    def undone(self, gradient: torch.Tensor) -> torch.Tensor:
        """The gradient (item, token, neuron) of the target before it was scaled.

        Where it was scaled, a float16 gradient becomes float32, which holds its small values.
        """
        import torch

        if self._is_one:
            return gradient
        powers = self._on(gradient.device, torch.float32, -1)
        wide = gradient.detach().float() * powers[:, None, None]
        return wide if gradient.dtype == torch.float16 else wide.to(gradient.dtype)

    def _on(self, device: torch.device, dtype: torch.dtype, sign: int) -> torch.Tensor:
        import torch

        from culnig.kernels.transfers import to_device

        key = (device, dtype, sign)
        if key not in self._powers:
            powers = torch.from_numpy(np.ldexp(1.0, sign * self.exponents)).to(dtype)
            self._powers[key] = to_device(powers, device)
        return self._powers[key]


def overflowed(gradient: torch.Tensor) -> torch.Tensor:
    """Which items have a gradient (item, token, neuron) that is not finite, bool (item,)."""
    return ~gradient.isfinite().flatten(1).all(1)
