"""Items: what a model is asked.

An item is one prompt with its gold answer. What role its scores play (target, control, exclusion) is a
property of the whole benchmark, so it is declared there once and not repeated on every item.

Three kinds of item, told apart by two fields: a label is chosen among `options`; the same where the options
are steps of a scale (`ordinal`), so that a near miss counts; a short answer is written freely and judged
against `accepted`. A label is read off one token, so such items can be scored; short answers are evaluated.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from culnig.errors import InputError

Role = Literal["target", "control", "exclusion"]
Split = Literal["identify", "test"]
SplitChoice = Literal["identify", "test", "all"]

JSON_ANSWER_PREFIX = '{"answer_choice":"'
"""Opens the answer after the generation prompt, so that the next token is the label."""


NO_CULTURE = "general"
"""The `culture` of items that ask for no culture's knowledge."""


@dataclass(frozen=True)
class Item:
    """One prompt with its gold answer."""

    id: str
    """Unique within its benchmark and stable across versions of the data."""
    question_id: str
    """Rows, wordings and cultures of one question share it; it is the independent unit of the statistics."""
    culture: str
    """Key of a culture record, or `NO_CULTURE`."""
    split: Split
    """`identify` items find neurons, `test` items judge them."""
    prompt: str
    """The user turn, before the chat template."""
    options: tuple[str, ...]
    """Answer labels, in the order shown (`A`, `B`, … or `1`, `2`, …); none where the answer is written."""
    answer: str
    """The gold label, one of `options`; of a short answer the first of `accepted`."""
    topic: str = ""
    """Category within the benchmark, for tables."""
    answer_prefix: str = JSON_ANSWER_PREFIX
    """Appended after the chat template's generation prompt; the next token is the label."""
    system: str | None = None
    """A system turn, where the benchmark has one."""
    ordinal: bool = False
    """Whether `options` are the steps of a scale, in its order."""
    accepted: tuple[str, ...] = ()
    """Right short answers, the most usual first; empty where the answer is a label."""
    language: str = ""
    """BCP-47 code of the language of `accepted`; decides how an answer is compared."""

    def __post_init__(self) -> None:
        if self.accepted:
            if self.options or self.answer != self.accepted[0] or not self.language:
                raise InputError(
                    f"item {self.id}: a short answer has no labels, its `answer` is the first accepted one "
                    f"and its language is given; got labels {self.options}, answer {self.answer!r}, accepted "
                    f"{self.accepted}, language {self.language!r}"
                )
            return
        if self.answer not in self.options:
            raise InputError(f"item {self.id}: gold label {self.answer!r} is not among {self.options}")
        if len(set(self.options)) != len(self.options):
            raise InputError(f"item {self.id}: the labels {self.options} are not distinct")


def choose_items(
    items: Iterable[Item],
    *,
    split: SplitChoice = "all",
    cultures: Sequence[str] | None = None,
    limit: int | None = None,
    per_culture: int | None = None,
) -> list[Item]:
    """The items of a split (and of some cultures), cut in file order.

    `per_culture` keeps the first so many items of each culture within the split, `limit` the first so many
    of what is left.
    """
    chosen: list[Item] = []
    if limit is not None and limit <= 0:
        return chosen
    taken: Counter[str] = Counter()
    for item in items:
        if split not in ("all", item.split) or (cultures is not None and item.culture not in cultures):
            continue
        if per_culture is not None and taken[item.culture] >= per_culture:
            continue
        taken[item.culture] += 1
        chosen.append(item)
        if limit is not None and len(chosen) >= limit:
            break
    return chosen
