"""The items of one benchmark that a reduction adds up, in the order of scoring."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from culnig.core.outcomes import Outcomes
from culnig.reanalysis.choice import Counts
from culnig.store.data_parts import Part

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class ChosenParts:
    """Parts of a benchmark and the items in them that take part, as often as they do."""

    parts: Sequence[Part]
    rows: Mapping[Path, Indices]
    """Rows of each part that take part."""
    indices: Indices
    """Index of every item that takes part, in file order."""
    cultures: tuple[str, ...]
    culture_index: Indices
    """Row of each item's culture, by index of the item; -1 for none."""
    p_gold: NDArray[np.float64]
    """P(gold) by index of the item."""

    @classmethod
    def of(cls, answers: Outcomes, counts: Counts, parts: Sequence[Part]) -> ChosenParts:
        """`counts` says how often each item takes part."""
        indices = np.repeat(np.arange(len(counts)), counts)
        cultures = tuple(dict.fromkeys(answers.culture[indices].tolist()))
        row_of = {culture: row for row, culture in enumerate(cultures)}
        rows = {
            part.path: np.repeat(np.arange(part.prompts.n_items), counts[part.prompts.item]) for part in parts
        }
        culture_index = [row_of.get(culture, -1) for culture in answers.culture.tolist()]
        return cls(parts, rows, indices, cultures, np.array(culture_index, dtype=np.int64), answers.p_gold)

    @property
    def most_items(self) -> int:
        """Items of the largest part."""
        return max((max(part.prompts.n_items, len(self.rows[part.path])) for part in self.parts), default=0)

    def portions(self) -> Iterator[list[tuple[Part, Indices, Indices]]]:
        """By portion: each part with the rows that take part and the indices of their items."""
        for portion in dict.fromkeys(part.name.portion for part in self.parts):
            own = [part for part in self.parts if part.name.portion == portion]
            yield [(part, rows, part.prompts.item[rows]) for part in own if len(rows := self.rows[part.path])]

    def totals(self) -> tuple[Indices, NDArray[np.float64]]:
        """Items and Σ P(gold) of each culture, added in the order of scoring."""
        n_items, p_gold = np.zeros(len(self.cultures), np.int64), np.zeros(len(self.cultures))
        for portion in self.portions():
            own = np.zeros(len(self.cultures))
            for _, _, indices in portion:
                np.add.at(n_items, self.culture_index[indices], 1)
                np.add.at(own, self.culture_index[indices], self.p_gold[indices])
            p_gold += own
        return n_items, p_gold
