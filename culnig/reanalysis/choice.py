"""Which items take part in a reduction, and how often each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
from numpy.typing import NDArray

from culnig.core.outcomes import Outcomes
from culnig.core.questions import linked_questions
from culnig.errors import InputError, argument

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
        """The choice as run.json records it; earlier versions drew culture by culture, and no `drawn`."""
        return {**asdict(self), **({"drawn": "whole questions"} if self.half or self.bootstrap else {})}

    def counts(self, outcomes: Outcomes) -> Counts:
        """How often each item counts.

        Halves and resamples are drawn by whole questions in all their cultures, among the questions that
        share cultures. The draw depends on the seed and the questions alone, so target and control of the
        same questions get the same draw. InputError if a culture has none of the drawn questions.
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
        cultures, questions = outcomes.culture[kept], outcomes.units[kept]
        often: dict[str, int] = {}
        for group in linked_questions(zip(cultures.tolist(), questions.tolist(), strict=True)):
            often |= self._drawn(sorted(group))
        counts[kept] = [often[question] for question in questions.tolist()]
        left = set(outcomes.culture[counts > 0].tolist())
        if missing := [culture for culture in dict.fromkeys(cultures.tolist()) if culture not in left]:
            raise InputError(
                f"{', '.join(missing)}: none of its questions was drawn; give another {argument('seed')}, or "
                "score more questions"
            )
        return counts

    def _drawn(self, questions: Sequence[str]) -> dict[str, int]:
        """How often each of the sorted questions is drawn."""
        n, generator = len(questions), np.random.default_rng([self.seed, *questions[0].encode()])
        if self.half:
            order, middle = generator.permutation(n), (n + 1) // 2
            drawn = np.zeros(n, dtype=np.int64)
            drawn[order[:middle] if self.half == 1 else order[middle:]] = 1
        else:
            drawn = np.bincount(generator.integers(n, size=n), minlength=n)
        return dict(zip(questions, drawn.tolist(), strict=True))


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
