"""Draw whole questions, evenly over topics, and the same ones for a target and its control.

Questions are ranked by a hash of the seed and their name. So a draw does not depend on the order of the
items, benchmarks of the same questions get the same draw, and a smaller draw is part of a larger one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import zip_longest
from typing import Any

from culnig.benchmarks.base import ChosenItems
from culnig.core.items import Item
from culnig.core.progress import Say, say_nothing
from culnig.core.questions import linked_questions
from culnig.core.text import counted
from culnig.errors import InputError, argument, check_at_least


@dataclass(frozen=True)
class Sample:
    """How many questions are drawn of each benchmark."""

    n_questions: int
    seed: int = 0

    def __post_init__(self) -> None:
        check_at_least("sample", self.n_questions, 1)
        check_at_least("seed", self.seed, 0)

    def record(self) -> dict[str, Any]:
        """As runs and evaluations record it."""
        return asdict(self)


def sampled(
    chosen: Mapping[str, ChosenItems], sample: Sample, say: Say = say_nothing
) -> dict[str, ChosenItems]:
    """All items of the drawn questions of each benchmark, in their order.

    A target and a control that share questions get the same draw, from the questions that both have.
    InputError if there are fewer questions than asked for.
    """
    result: dict[str, ChosenItems] = {}
    for names in _linked(chosen):
        common = set.intersection(*(_questions(chosen[name]) for name in names))
        if len(common) < sample.n_questions:
            have = f"{' and '.join(map(repr, names))} {'share' if len(names) > 1 else 'has'}"
            raise InputError(
                f"{argument('sample')} is {sample.n_questions}, but {have} only "
                f"{counted(len(common), 'question')} in this split; give {len(common)} or fewer"
            )
        items = [item for name in names for item in chosen[name].items if item.question in common]
        drawn = set(ranked_questions(items, sample.seed)[: sample.n_questions])
        for name in names:
            own = chosen[name]
            kept = [item for item in own.items if item.question in drawn]
            _say_missing(name, own.items, kept, say)
            result[name] = replace(own, items=kept, sample=sample.record())
    return {name: result[name] for name in chosen}


def ranked_questions(items: Iterable[Item], seed: int) -> list[str]:
    """All questions in the order in which they are drawn.

    The topics take turns. Where questions belong to single cultures, so do the cultures.
    """
    topics: dict[str, set[str]] = {}
    asked: set[tuple[str, str]] = set()
    for item in items:
        topics.setdefault(item.question, set()).add(item.topic)
        asked.add((item.culture, item.question))

    def rank(names: Iterable[str]) -> list[str]:
        return sorted(names, key=lambda name: hashlib.sha256(f"{seed}\n{name}".encode()).digest())

    cultures = []
    for questions in linked_questions(sorted(asked)):
        by_topic: dict[str, list[str]] = {}
        for question in rank(questions):
            by_topic.setdefault("\n".join(sorted(topics[question])), []).append(question)
        cultures.append(_in_turn([by_topic[topic] for topic in rank(by_topic)]))
    first = rank(questions[0] for questions in cultures)
    return _in_turn(sorted(cultures, key=lambda questions: first.index(questions[0])))


def _in_turn(lists: Sequence[Sequence[str]]) -> list[str]:
    return [question for turn in zip_longest(*lists) for question in turn if question is not None]


def _linked(chosen: Mapping[str, ChosenItems]) -> list[list[str]]:
    """Names of the benchmarks that get one draw: targets and controls that share questions."""
    groups: list[list[str]] = []
    for name, own in chosen.items():
        partners = {"target": "control", "control": "target"}.get(own.role)
        linked = [
            group
            for group in groups
            if any(
                chosen[other].role == partners and _questions(chosen[other]) & _questions(own)
                for other in group
            )
        ]
        groups = [group for group in groups if group not in linked]
        groups.append([*(other for group in linked for other in group), name])
    return groups


def _questions(chosen: ChosenItems) -> set[str]:
    return {item.question for item in chosen.items}


def _say_missing(name: str, items: Sequence[Item], kept: Sequence[Item], say: Say) -> None:
    """Say which cultures have none of the drawn questions."""
    left = {item.culture for item in kept}
    if missing := dict.fromkeys(item.culture for item in items if item.culture not in left):
        say(
            f"{name}: none of the questions drawn is about {', '.join(missing)}; draw more, or with another "
            "seed"
        )
