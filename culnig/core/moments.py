"""Score tables: sums over items, per culture and neuron, and the culture scores computed from them.

For an item x with gold answer y, the weighted score of neuron n is w(n) = P(y|x) · s(n); s(n) aggregates
gradient × activation over the real tokens (docs/method.md, Score). `CultureMoments` keeps Σw, Σw² and the
count of w > 0 over the items of each culture. The culture score is Σw divided by the number of items of the
whole benchmark.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from culnig.errors import MismatchError


@dataclass
class CultureMoments:
    """Sums of weighted item scores over the items of each culture."""

    cultures: tuple[str, ...]
    n_items: NDArray[np.int64]
    """Items of each culture, shape (culture,)."""
    p_gold_sum: NDArray[np.float64]
    """Σ P(gold), shape (culture,)."""
    sum: NDArray[np.float64]
    """Σ w, shape (culture, neuron)."""
    sum_of_squares: NDArray[np.float64]
    """Σ w², shape (culture, neuron)."""
    positive_count: NDArray[np.uint32]
    """Items with w > 0, shape (culture, neuron)."""

    @classmethod
    def zeros(cls, cultures: Sequence[str], n_neurons: int) -> CultureMoments:
        """An empty table."""
        shape = (len(cultures), n_neurons)
        return cls(
            tuple(cultures),
            np.zeros(len(cultures), dtype=np.int64),
            np.zeros(len(cultures)),
            np.zeros(shape),
            np.zeros(shape),
            np.zeros(shape, dtype=np.uint32),
        )

    @classmethod
    def of_sums(
        cls, cultures: Sequence[str], n_items: Sequence[int], sums: NDArray[np.float64]
    ) -> CultureMoments:
        """A table of Σw alone; P(gold), squares and counts are left empty."""
        table = cls.zeros(cultures, 0)
        table.n_items, table.sum = np.array(n_items, dtype=np.int64), sums
        return table

    def add(self, other: CultureMoments) -> None:
        """Add sums over other items; both tables must list the same cultures in the same order."""
        self.n_items += other.n_items
        self.p_gold_sum += other.p_gold_sum
        self.sum += other.sum
        self.sum_of_squares += other.sum_of_squares
        self.positive_count += other.positive_count

    @property
    def n_bytes(self) -> int:
        """Memory of the tables."""
        return self.sum.nbytes + self.sum_of_squares.nbytes + self.positive_count.nbytes

    @property
    def culture_scores(self) -> NDArray[np.float64]:
        """S(n, c) = Σ w over the items of c / number of items of the benchmark, shape (culture, neuron)."""
        return self.sum / max(1, int(self.n_items.sum()))

    def rows(self, cultures: Sequence[str]) -> NDArray[np.float64]:
        """Culture scores in the order of `cultures`; MismatchError names the missing ones."""
        missing = [culture for culture in cultures if culture not in self.cultures]
        if missing:
            raise MismatchError(
                f"no items of {', '.join(missing)}; this benchmark has items of {', '.join(self.cultures)}"
            )
        rows = [self.cultures.index(culture) for culture in cultures]
        return self.sum[rows] / max(1, int(self.n_items.sum()))
