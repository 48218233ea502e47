"""Items: the questions that a model is asked.

An item is one prompt with its gold answer. The role of its scores (target, control, exclusion) belongs to the
whole benchmark and is declared there.

There are three kinds of items. The model chooses a label among `options`, which is read from one token; or
the options are texts that could follow the prompt (`likelihood`), and their log-probabilities are compared;
or it writes a short answer, which is compared with `accepted`. Options may be the steps of a scale
(`ordinal`), so that a near miss counts. Items with options can be scored, short answers only evaluated.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from culnig.errors import InputError, check_choice

Role = Literal["target", "control", "exclusion"]
Split = Literal["identify", "test"]
SplitChoice = Literal["identify", "test", "all"]
Normalization = Literal["none", "bytes"]
"""Log-probabilities of texts are compared as sums over their tokens, or per byte of UTF-8."""

JSON_ANSWER_PREFIX = '{"answer_choice":"'
"""Begins the answer after the generation prompt, so that the next token is the label."""

NO_CULTURE = "general"
"""The `culture` of items that need no cultural knowledge."""


@dataclass(frozen=True)
class Item:
    """One prompt with its gold answer."""

    id: str
    """Unique within its benchmark and stable across versions of the data."""
    question_id: str
    """Shared by all rows, wordings and cultures of one question: the independent unit of the statistics,
    unless `unit` names a larger one."""
    culture: str
    """Key of a culture record, or `NO_CULTURE`."""
    split: Split
    """`identify` items find neurons, `test` items evaluate them."""
    prompt: str
    """The user turn, before the chat template."""
    options: tuple[str, ...]
    """Answer labels, in the order shown (`A`, `B`, … or `1`, `2`, …), or with `likelihood` the texts of the
    options; none for a short answer."""
    answer: str
    """The gold label, one of `options`; for a short answer, the first of `accepted`."""
    topic: str = ""
    """Category within the benchmark, for tables."""
    answer_prefix: str = JSON_ANSWER_PREFIX
    """Appended after the chat template's generation prompt; the next token is the label. With `likelihood`
    what stands between prompt and option where there is no chat template."""
    system: str | None = None
    """The system turn, if the benchmark has one."""
    ordinal: bool = False
    """Whether `options` are the steps of a scale, in its order."""
    accepted: tuple[str, ...] = ()
    """Correct short answers, the most common first; empty if the answer is a label."""
    unit: str = ""
    """The question in all its rows and cultures, where `question_id` names only one of them; else empty."""
    language: str = ""
    """BCP-47 code of the language of `accepted`; decides how answers are compared."""
    also_right: tuple[str, ...] = ()
    """Further labels that are right. P(gold) and scores are those of `answer` alone."""
    distribution: tuple[float, ...] = ()
    """Share of people who chose each of `options`, in that order; `answer` is then the most common."""
    together: str = ""
    """Items with the same text are right or wrong together; empty for an item that stands for itself."""
    likelihood: Normalization | None = None
    """How the log-probabilities of the options' texts are compared; None where options are labels."""

    @property
    def right(self) -> tuple[str, ...]:
        """All labels that are right, `answer` first."""
        return (self.answer, *self.also_right)

    @property
    def question(self) -> str:
        """The independent unit of the statistics: `unit`, or else `question_id`."""
        return self.unit or self.question_id

    def __post_init__(self) -> None:
        check_choice("likelihood", self.likelihood, (None, *get_args(Normalization)))
        if self.accepted:
            if self.options or self.answer != self.accepted[0] or not self.language:
                raise InputError(
                    f"item {self.id}: an item with `accepted` answers must have no options, the first "
                    f"accepted answer as its `answer`, and a language; got options {self.options}, answer "
                    f"{self.answer!r}, accepted {self.accepted}, language {self.language!r}"
                )
            return
        if self.answer not in self.options:
            raise InputError(f"item {self.id}: gold label {self.answer!r} is not among {self.options}")
        if len(set(self.options)) != len(self.options):
            raise InputError(f"item {self.id}: a label appears twice among {self.options}")
        if self.likelihood and any("\t" in text or not text.strip() for text in self.options):
            raise InputError(
                f"item {self.id}: an option that is read as text must not be empty or hold a tab; got "
                f"{self.options}"
            )
        if self.also_right and not set(self.right) < set(self.options):
            raise InputError(
                f"item {self.id}: of the labels {self.options}, {self.right} are right; some must be wrong"
            )
        if len(set(self.right)) != len(self.right):
            raise InputError(f"item {self.id}: a label appears twice among the right ones, {self.right}")
        if self.distribution and len(self.distribution) != len(self.options):
            raise InputError(
                f"item {self.id}: {len(self.distribution)} shares for {len(self.options)} options"
            )


def items_of(
    items: Iterable[Item], split: SplitChoice = "all", cultures: Sequence[str] | None = None
) -> Iterator[Item]:
    """Items of a split, optionally of some cultures only."""
    for item in items:
        if split in ("all", item.split) and (cultures is None or item.culture in cultures):
            yield item


def choose_items(
    items: Iterable[Item],
    *,
    split: SplitChoice = "all",
    cultures: Sequence[str] | None = None,
    limit: int | None = None,
    per_culture: int | None = None,
) -> list[Item]:
    """Items of a split, optionally of some cultures only, in file order.

    `per_culture` keeps the first N items of each culture within the split; `limit` then keeps the first N of
    all.
    """
    chosen: list[Item] = []
    if limit is not None and limit <= 0:
        return chosen
    taken: Counter[str] = Counter()
    for item in items_of(items, split, cultures):
        if per_culture is not None and taken[item.culture] >= per_culture:
            continue
        taken[item.culture] += 1
        chosen.append(item)
        if limit is not None and len(chosen) >= limit:
            break
    return chosen
