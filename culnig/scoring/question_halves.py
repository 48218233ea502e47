"""The two halves of a benchmark's questions, for sums over each half beside the sums over all.

The questions alone decide the halves. In the order of a hash of their ids, each goes to the half that has
fewer questions of its cultures so far, so that the halves are of nearly equal size in every culture, and
target and control of the same questions are divided alike. All items of a question, in all its cultures, are
in one half.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from culnig.core.items import Item


def half_of_items(items: Sequence[Item]) -> NDArray[np.int64]:
    """1 or 2 for each item, (item,)."""
    cultures: dict[str, set[str]] = {}
    for item in items:
        cultures.setdefault(item.question, set()).add(item.culture)
    more_in_first = dict.fromkeys((item.culture for item in items), 0)
    half = {}
    for question in sorted(cultures, key=_scattered):
        in_first = sum(more_in_first[culture] for culture in cultures[question]) <= 0
        half[question] = 1 if in_first else 2
        for culture in cultures[question]:
            more_in_first[culture] += 1 if in_first else -1
    return np.array([half[item.question] for item in items], dtype=np.int64)


def _scattered(question: str) -> bytes:
    """A key that does not follow the order in which questions are numbered."""
    return hashlib.sha256(question.encode()).digest()
