"""Items and the protocol of the benchmarks that make them.

An item is one prompt with its gold answer. What role its scores play (target, control, exclusion) is a
property of the whole benchmark, so it is declared there once and not repeated on every item.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar, Literal

from culnig.errors import InputError

Role = Literal["target", "control", "exclusion"]
Split = Literal["identify", "test"]
SplitChoice = Literal["identify", "test", "all"]

JSON_ANSWER_PREFIX = '{"answer_choice":"'
"""Opens the answer after the generation prompt, so that the next token is the label."""


@dataclass(frozen=True)
class Item:
    """One prompt with its gold answer."""

    id: str
    """Unique within its benchmark and stable across versions of the data."""
    question_id: str
    """Items of one question share it; with the culture it is the independent unit of the statistics."""
    culture: str
    """Key of a culture record."""
    split: Split
    """`identify` items find neurons, `test` items judge them."""
    prompt: str
    """The user turn, before the chat template."""
    options: tuple[str, ...]
    """Answer labels, in the order shown (`A`, `B`, … or `1`, `2`, …)."""
    answer: str
    """The gold label, one of `options`."""
    topic: str = ""
    """Category within the benchmark, for tables."""
    answer_prefix: str = JSON_ANSWER_PREFIX
    """Appended after the chat template's generation prompt; the next token is the label."""
    system: str | None = None
    """A system turn, where the benchmark has one."""

    def __post_init__(self) -> None:
        if self.answer not in self.options:
            raise InputError(f"item {self.id}: gold label {self.answer!r} is not among {self.options}")
        if len(set(self.options)) != len(self.options):
            raise InputError(f"item {self.id}: the labels {self.options} are not distinct")


class Benchmark(ABC):
    """Reads items. One subclass per benchmark, registered in the entry-point group `culnig.benchmarks`."""

    name: ClassVar[str]
    role: ClassVar[Role]
    summary: ClassVar[str]
    """One line for `list benchmarks`."""
    needs_data_dir: ClassVar[bool] = False
    """Whether the items come from files that the user must have (`--data-dir`, `CULNIG_DATA`)."""
    control: ClassVar[str | None] = None
    """Name of the benchmark that holds the same items without their question, if there is one."""

    @abstractmethod
    def read(self, data_dir: Path | None) -> Iterator[Item]:
        """All items of both splits in file order. DataFileError where the data is missing or malformed."""


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


@dataclass(frozen=True)
class ChosenItems:
    """The items of one benchmark that take part in a run or evaluation."""

    role: Role
    split: str
    items: Sequence[Item]


def items_hash(items: Sequence[Item]) -> str:
    """SHA-256 over the full text of the items, so that a run can tell whether the data has changed."""
    digest = hashlib.sha256()
    for item in items:
        digest.update(json.dumps(asdict(item), sort_keys=True, ensure_ascii=False).encode())
    return digest.hexdigest()
