"""Which items take part in a reduction, and how often each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
from numpy.typing import NDArray

from culnig.core.outcomes import Outcomes
from culnig.errors import InputError

Counts = NDArray[np.int64]
"""How often each item of a benchmark takes part, shape (item,), in file order."""


@dataclass(frozen=True)
class ItemChoice:
    """Items by name, then all, half or a resample of them. Empty means all."""

    cultures: tuple[str, ...] = ()
    without_cultures: tuple[str, ...] = ()
    items: tuple[str, ...] = ()
    """Ids; `*` matches any characters and `?` any single one."""
    without_items: tuple[str, ...] = ()
    half: int | None = None
    """1 or 2: one of two halves that together hold every question once."""
    bootstrap: bool = False
    """Draw as many questions as there are, with replacement."""
    seed: int = 0
    """For `half` and `bootstrap`."""

    def __post_init__(self) -> None:
        if self.half not in (None, 1, 2):
            raise InputError(f"half is {self.half}; 1 or 2 is allowed")
        if self.half and self.bootstrap:
            raise InputError("a half and a bootstrap resample cannot be combined; give only one of them")

    def record(self) -> dict[str, Any]:
        """The choice as run.json records it."""
        return asdict(self)

    def counts(self, outcomes: Outcomes) -> Counts:
        """How often each item counts.

        Halves and resamples are drawn by whole questions (culture and question id), culture by culture: the
        items of one question share most of their text and are not independent. The draw depends on the seed
        and the questions alone, so target and control of the same questions get the same draw.
        """
        ids = outcomes.id.tolist()
        kept = np.array(
            [
                (not self.cultures or culture in self.cultures)
                and culture not in self.without_cultures
                and (not self.items or _matches(name, self.items))
                and not _matches(name, self.without_items)
                for name, culture in zip(ids, outcomes.culture.tolist(), strict=True)
            ],
            dtype=bool,
        )
        counts = kept.astype(np.int64)
        if not (self.half or self.bootstrap):
            return counts
        for culture in dict.fromkeys(outcomes.culture[kept].tolist()):
            rows = kept & (outcomes.culture == culture)
            counts[rows] = self._drawn(culture, outcomes.question_id[rows].tolist())
        return counts

    def _drawn(self, culture: str, questions: Sequence[str]) -> list[int]:
        names = sorted(set(questions))
        generator = np.random.default_rng([self.seed, *culture.encode()])
        often: Mapping[str, int]
        if self.half:
            order = generator.permutation(len(names))
            half = order[: (len(names) + 1) // 2] if self.half == 1 else order[(len(names) + 1) // 2 :]
            chosen = set(half.tolist())
            often = {name: int(number in chosen) for number, name in enumerate(names)}
        else:
            drawn = np.bincount(generator.integers(len(names), size=len(names)), minlength=len(names))
            often = dict(zip(names, drawn.tolist(), strict=True))
        return [often[question] for question in questions]


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
