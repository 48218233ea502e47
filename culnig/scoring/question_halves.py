"""The two halves of a benchmark's questions, for sums over each half beside the sums over all.

The questions alone decide the halves. Among questions that share cultures, in the order of a hash of their
names, they go alternately to the first half and to the second, so that the halves are of nearly equal size
and target and control of the same questions are divided alike. All items of a question, in every culture, are
in one half.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from culnig.core.items import Item
from culnig.core.questions import linked_questions

Halving = Callable[[Sequence[Item]], NDArray[np.int64]]
"""Gives the half of each item, 1 or 2, (item,)."""

WHOLE_QUESTIONS = "whole questions"
"""`settings.halves` of a run; earlier versions wrote true."""


def half_of_items(items: Sequence[Item]) -> NDArray[np.int64]:
    """1 or 2 for each item, (item,)."""
    groups = linked_questions((item.culture, item.question) for item in items)
    half = {question: number for questions in groups for question, number in _alternately(questions)}
    return np.array([half[item.question] for item in items], dtype=np.int64)


def half_by_culture(items: Sequence[Item]) -> NDArray[np.int64]:
    """1 or 2 for each item, (item,), as earlier versions had it: each culture's rows by `question_id`.

    Rows of one question may be in different halves. It finishes runs that those versions began.
    """
    of_culture: dict[str, set[str]] = {}
    for item in items:
        of_culture.setdefault(item.culture, set()).add(item.question_id)
    half = {
        (culture, question): number
        for culture, questions in of_culture.items()
        for question, number in _alternately(questions)
    }
    return np.array([half[item.culture, item.question_id] for item in items], dtype=np.int64)


HALVINGS: dict[object, Halving] = {WHOLE_QUESTIONS: half_of_items, True: half_by_culture}
"""By `settings.halves`."""


def _alternately(questions: Collection[str]) -> Iterator[tuple[str, int]]:
    """Each question with its half; the order does not follow that in which questions are numbered."""
    ranked = sorted(questions, key=lambda question: hashlib.sha256(question.encode()).digest())
    return ((question, 1 + rank % 2) for rank, question in enumerate(ranked))
