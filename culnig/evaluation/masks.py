"""What a condition does to its neurons: scale them, or replace them by values of other prompts.

A neuron's mean, and its values in other prompts, keep activations closer to their usual range than zero does.
A loss of accuracy is then more likely due to the missing information than to unusual activations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from culnig.errors import InputError
from culnig.evaluation.conditions import Condition
from culnig.evaluation.means import Activations, activations_of
from culnig.inference.batches import DEFAULT_TOKEN_BUDGET
from culnig.models.base import BoundModel
from culnig.models.intervention import Change, Resample, Scale, SetTo


@dataclass
class Replacements:
    """Values that replace the activations of neurons."""

    flat: NDArray[np.int64]
    """Flat indices of the neurons, ascending."""
    activations: Activations
    seed: int = 0
    _rows: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))

    @classmethod
    def of(
        cls,
        bound: BoundModel,
        prompts: Sequence[Sequence[int]],
        conditions: Sequence[Condition],
        *,
        token_budget: int = DEFAULT_TOKEN_BUDGET,
        seed: int = 0,
    ) -> Replacements:
        """From prompts (token ids), for the neurons of all conditions that need them."""
        needed = [condition.flat for condition in conditions if condition.mask != "scale"]
        flat = np.unique(np.concatenate([np.empty(0, dtype=np.int64), *needed]))
        return cls(flat, activations_of(bound, prompts, flat, token_budget=token_budget, seed=seed), seed)

    def begin(self, item_ids: Sequence[str]) -> None:
        """Set the items that the model reads next. Which prompt's values an item gets depends on its id."""
        digests = (sha256(f"{self.seed}\n{item_id}".encode()).digest() for item_id in item_ids)
        numbers = [int.from_bytes(digest[:8], "big") % len(self.activations.samples) for digest in digests]
        self._rows = np.array(numbers, dtype=np.int64)

    def rows(self, n_items: int) -> NDArray[np.int64]:
        """The sample of each item that the model reads."""
        assert n_items == len(self._rows), "resampling needs one row of tokens per item"
        return self._rows

    def change(self, condition: Condition) -> Change:
        """What a condition with the mask `mean` or `resample` does."""
        columns = np.searchsorted(self.flat, condition.flat)
        if condition.mask == "mean":
            return SetTo(condition.flat, self.activations.mean[columns])
        return Resample(condition.flat, self.activations.samples[:, columns], rows=self.rows)


def check_replacements(conditions: Sequence[Condition], replacements: Replacements | None) -> None:
    """InputError if a condition needs values that are missing."""
    for condition in conditions:
        if condition.mask == "scale":
            continue
        if replacements is None or not np.isin(condition.flat, replacements.flat).all():
            raise InputError(
                f"condition {condition.name!r} replaces activations, but no values are given for some of its "
                "neurons; pass Replacements.of(...) of all conditions"
            )


def change_of(condition: Condition, replacements: Replacements | None) -> Change:
    """What a condition does to the model."""
    if condition.mask == "scale":
        return Scale(condition.flat, condition.factor)
    assert replacements is not None  # checked before
    return replacements.change(condition)
