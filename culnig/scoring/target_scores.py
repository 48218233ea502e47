"""Scorers whose scores are made in the backward pass of their own target, by the kernel.

Their scores are scaled as the target was (`culnig.scoring.scaling`), until they are weighted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from culnig.core.neurons import Segment
from culnig.scorers.base import GradientOfTarget, Scorer, Target
from culnig.scoring.device_scores import CapturedPair, DeviceScores
from culnig.scoring.scaling import Scale, overflowed

if TYPE_CHECKING:
    import torch


class TargetScores:
    """Which scorers are scored when, and what has been in the batch; scorers are numbered from 1."""

    def __init__(self, scorers: Sequence[Scorer]) -> None:
        numbered = list(enumerate(scorers, 1))
        self._own = {
            number: scorer.targets[0] for number, scorer in numbered if isinstance(scorer, GradientOfTarget)
        }
        self.remaining = [(number, scorer) for number, scorer in numbered if number not in self._own]
        """Scorers that are given all gradients in the last backward pass, with their numbers."""

    def begin(self) -> None:
        """Nothing of the batch is scored yet."""
        self._scales: dict[int, Scale] = {}
        self._arrived: dict[int, set[Segment]] = {number: set() for number in self._own}
        self._overflow: dict[torch.device, torch.Tensor] = {}

    def is_kept(self, target: Target) -> bool:
        """Whether a remaining scorer needs the gradients of a target."""
        return any(target in scorer.targets for _, scorer in self.remaining)

    def write(
        self, home: DeviceScores, segment: Segment, pair: CapturedPair, target: Target, scale: Scale
    ) -> None:
        """Score a pair of a target's backward pass; of a module that is called twice, the last call."""
        for number in (own for own, of_target in self._own.items() if of_target == target):
            if segment not in self._arrived[number]:
                home.write(segment, pair, "max", number)
                self._arrived[number].add(segment)
                self._scales[number] = scale

    def note_overflow(self, gradient: torch.Tensor) -> None:
        """Note which items of a target's gradient (item, token, neuron) are not finite, on its device."""
        wrong, device = overflowed(gradient), gradient.device
        self._overflow[device] = wrong | self._overflow.get(device, wrong)

    def overflow(self, n_items: int) -> NDArray[np.bool_]:
        """Which items were noted, (item,); waits for the devices."""
        items = np.zeros(n_items, dtype=np.bool_)
        for of_device in self._overflow.values():
            items |= of_device.cpu().numpy()
        return items

    def missing(self, segments: Iterable[Segment]) -> Iterator[tuple[int, list[Segment]]]:
        """By number: segments that were not in the target's backward pass."""
        for number, arrived in self._arrived.items():
            yield number, [segment for segment in segments if segment not in arrived]

    def unscaled(self, number: int, weight: NDArray[np.float64] | None) -> NDArray[np.float64] | None:
        """The weight (item,) of scores that are still scaled."""
        scale = self._scales.get(number)
        return weight if scale is None or weight is None else np.ldexp(weight, -scale.exponents)
