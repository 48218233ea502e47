"""The two halves of a benchmark's questions, for sums of each half beside the sums of all.

The halves are fixed by the questions alone. Within a culture they go by turns to the first half and to the
second, in the order of a hash of their ids, so that the halves are as equal as may be and target and control
of the same questions are cut alike. All items of a question and culture are in one half.
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
        (culture, question): 1 + turn % 2
        for culture, asked in questions.items()
        for turn, question in enumerate(sorted(asked, key=_scattered))
    }
    return np.array([half[item.culture, item.question_id] for item in items], dtype=np.int64)


def _scattered(question: str) -> bytes:
    """A key that does not follow the order in which questions are numbered."""
    return hashlib.sha256(question.encode()).digest()
