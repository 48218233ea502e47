"""The two halves of a benchmark's questions, for sums over each half beside the sums over all.

The questions alone decide the halves. Within a culture the questions, in the order of a hash of their ids, go
alternately to the first half and to the second, so that the halves are of nearly equal size and target and
control of the same questions are divided alike. All items of a question and culture are in one half.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from culnig.core.items import Item


def half_of_items(items: Sequence[Item]) -> NDArray[np.int64]:
    """1 or 2 for each item, (item,)."""
    questions: dict[str, set[str]] = {}
    for item in items:
        questions.setdefault(item.culture, set()).add(item.question_id)
    half = {
        (culture, question): 1 + rank % 2
        for culture, own in questions.items()
        for rank, question in enumerate(sorted(own, key=_scattered))
    }
    return np.array([half[item.culture, item.question_id] for item in items], dtype=np.int64)


def _scattered(question: str) -> bytes:
    """A key that does not follow the order in which questions are numbered."""
    return hashlib.sha256(question.encode()).digest()
