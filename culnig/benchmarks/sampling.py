"""Draw whole questions, evenly over topics, and the same ones for a target and its control.

Questions are ranked by a hash of the seed and their name. So a draw does not depend on the order of the
items, benchmarks of the same questions get the same draw, and a smaller draw is part of a larger one. Only
the names of the questions are held while they are ranked, so a benchmark is read twice and may be long.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import asdict, dataclass
from itertools import zip_longest
from typing import Any

from culnig.core.items import Item, Role
from culnig.core.progress import Say
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


class Asked:
    """The questions of items with their topics and cultures: what a draw needs, in little memory."""

    def __init__(self, items: Iterable[Item] = ()) -> None:
        self.cultures: dict[str, None] = {}
        """In order of first appearance."""
        self._kind_of: dict[str, int] = {}
        self._kinds: dict[tuple[frozenset[str], frozenset[str]], int] = {}
        """Numbers of the pairs of topics and cultures that questions have."""
        self._pairs: list[tuple[frozenset[str], frozenset[str]]] = []
        for item in items:
            self.cultures.setdefault(item.culture)
            self._add(item.question, frozenset((item.topic,)), frozenset((item.culture,)))

    def _add(self, question: str, topics: frozenset[str], cultures: frozenset[str]) -> None:
        before = self._kind_of.get(question)
        if before is not None:
            topics_before, cultures_before = self._pairs[before]
            topics, cultures = topics_before | topics, cultures_before | cultures
        number = self._kinds.setdefault((topics, cultures), len(self._kinds))
        if number == len(self._pairs):
            self._pairs.append((topics, cultures))
        self._kind_of[question] = number

    @property
    def questions(self) -> Set[str]:
        """All questions."""
        return self._kind_of.keys()

    def add(self, asked: Asked, questions: Set[str]) -> None:
        """Add some questions of others."""
        for question, kind in asked._kind_of.items():
            if question in questions:
                self._add(question, *asked._pairs[kind])

    def ranked(self, seed: int) -> list[str]:
        """All questions in the order in which they are drawn.

        The topics take turns. Where questions belong to single cultures, so do the cultures.
        """

        def rank(names: Iterable[str]) -> list[str]:
            return sorted(names, key=lambda name: hashlib.sha256(f"{seed}\n{name}".encode()).digest())

        pairs = ((culture, str(n)) for n, (_, own) in enumerate(self._pairs) for culture in own)
        group_of = {int(n): group for group, own in enumerate(linked_questions(pairs)) for n in own}
        groups: dict[int, dict[str, list[str]]] = {}
        for question in rank(self._kind_of):
            kind = self._kind_of[question]
            by_topic = groups.setdefault(group_of[kind], {})
            by_topic.setdefault("\n".join(sorted(self._pairs[kind][0])), []).append(question)
        cultures = [_in_turn([own[topic] for topic in rank(own)]) for own in groups.values()]
        first = rank(questions[0] for questions in cultures)
        return _in_turn(sorted(cultures, key=lambda questions: first.index(questions[0])))


def drawn_questions(asked: Mapping[str, tuple[Role, Asked]], sample: Sample) -> dict[str, set[str]]:
    """The questions that are drawn of each benchmark.

    A target and a control that share questions get the same draw, from the questions that both have.
    InputError if there are fewer questions than asked for.
    """
    drawn: dict[str, set[str]] = {}
    for names in _linked(asked):
        common = set.intersection(*(set(asked[name][1].questions) for name in names))
        if len(common) < sample.n_questions:
            have = f"{' and '.join(map(repr, names))} {'share' if len(names) > 1 else 'has'}"
            raise InputError(
                f"{argument('sample')} is {sample.n_questions}, but {have} only "
                f"{counted(len(common), 'question')} in this split; give {len(common)} or fewer"
            )
        together = Asked()
        for name in names:
            together.add(asked[name][1], common)
        own = set(together.ranked(sample.seed)[: sample.n_questions])
        drawn |= dict.fromkeys(names, own)
    return drawn


def _in_turn(lists: Sequence[Sequence[str]]) -> list[str]:
    return [question for turn in zip_longest(*lists) for question in turn if question is not None]


def _linked(asked: Mapping[str, tuple[Role, Asked]]) -> list[list[str]]:
    """Names of the benchmarks that get one draw: targets and controls that share questions."""
    groups: list[list[str]] = []
    for name, (role, own) in asked.items():
        partners = {"target": "control", "control": "target"}.get(role)
        linked = [
            group
            for group in groups
            if any(
                asked[other][0] == partners and not asked[other][1].questions.isdisjoint(own.questions)
                for other in group
            )
        ]
        groups = [group for group in groups if group not in linked]
        groups.append([*(other for group in linked for other in group), name])
    return groups


def say_missing(name: str, asked: Asked, kept: Iterable[Item], say: Say) -> None:
    """Say which cultures have none of the drawn questions."""
    left = {item.culture for item in kept}
    if missing := [culture for culture in asked.cultures if culture not in left]:
        say(
            f"{name}: none of the questions drawn is about {', '.join(missing)}; draw more, or with another "
            "seed"
        )
