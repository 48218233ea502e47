"""Questions: how many there are, and which share cultures, so that they can be drawn or halved as wholes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from culnig.core.items import Item
from culnig.core.outcomes import Outcomes


def count_questions(asked: Iterable[Item] | Outcomes) -> int:
    """How many questions items or answers rest on: what every table says beside its number of items."""
    units = asked.units if isinstance(asked, Outcomes) else (item.question for item in asked)
    return len(set(units))


def count_by_culture(answers: Outcomes) -> dict[str, int]:
    """How many questions each culture was asked, in order of first appearance."""
    asked = dict.fromkeys(zip(answers.culture.tolist(), answers.units.tolist(), strict=True))
    return dict(Counter(culture for culture, _ in asked))


def linked_questions(asked: Iterable[tuple[str, str]]) -> list[list[str]]:
    """Groups of questions linked by shared cultures, from the (culture, question) pairs that were asked.

    Questions that are asked about all cultures are one group; where each question belongs to one culture,
    the questions of a culture are one. Groups and questions are in order of first appearance.
    """
    cultures_of: dict[str, dict[str, None]] = {}
    for culture, question in asked:
        cultures_of.setdefault(question, {})[culture] = None
    group: dict[str, str] = {}

    def first(culture: str) -> str:
        while group.setdefault(culture, culture) != culture:
            group[culture] = group[group[culture]]
            culture = group[culture]
        return culture

    for cultures in cultures_of.values():
        root = first(next(iter(cultures)))
        for culture in cultures:
            group[first(culture)] = root
    groups: dict[str, list[str]] = {}
    for question, cultures in cultures_of.items():
        groups.setdefault(first(next(iter(cultures))), []).append(question)
    return list(groups.values())
