"""Worked examples in front of a prompt (few-shot), drawn by SHA-256 of a seed.

They come from the items of the split `identify`, never from the item's own question, and each from another
question. The draw depends on the data file and the seed, not on which items are read or in which order.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterable
from dataclasses import replace

from culnig.benchmarks.declaration import FewShot
from culnig.core.items import Item
from culnig.errors import InputError

_POOL = 64
"""Items of each wording and language that examples are drawn from."""


class Examples:
    """Draws the examples of each item."""

    def __init__(self, few_shot: FewShot, items: Iterable[tuple[str, Item]]) -> None:
        """`items` are all of the benchmark, without examples, each with its language."""
        self._few_shot = few_shot
        pools: dict[tuple[str, str], list[tuple[int, str, Item]]] = {}
        for language, item in items:
            if item.split != "identify":
                continue
            pool = pools.setdefault((language, _wording(item)), [])
            entry = (-self._rank(item.id), item.id, item)  # the heap keeps the lowest ranks
            (heapq.heappush if len(pool) < _POOL else heapq.heappushpop)(pool, entry)
        self._pools = {key: [item for _, _, item in pool] for key, pool in pools.items()}

    def _rank(self, text: str) -> int:
        return int.from_bytes(hashlib.sha256(f"{self._few_shot.seed}\n{text}".encode()).digest(), "big")

    def before(self, item: Item, language: str) -> Item:
        """The item with its examples in front; InputError if there are too few other questions."""
        chosen: dict[str, Item] = {}
        pool = self._pools.get((language, _wording(item)), [])
        for example in sorted(pool, key=lambda each: self._rank(f"{item.id}\n{each.id}")):
            if example.question != item.question and len(chosen) < self._few_shot.n:
                chosen.setdefault(example.question, example)
        if len(chosen) < self._few_shot.n:
            of_language = f" in {language}" if language else ""
            raise InputError(
                f"few_shot: {self._few_shot.n} examples are asked for, but the split identify has only "
                f"{len(chosen)} other questions{of_language} for item {item.id}; declare more rows as "
                "identify (identify_topics, columns.split) or a smaller n"
            )
        shown = [_with_answer(each) for each in chosen.values()]
        return replace(item, prompt="\n\n".join([*shown, item.prompt]))


def _with_answer(item: Item) -> str:
    """A worked example, as a model without a chat template is asked."""
    if item.likelihood:
        return f"{item.prompt}{item.answer_prefix}{item.answer}"
    return f'{item.prompt}\n{item.answer_prefix}{item.answer}"}}'


def _wording(item: Item) -> str:
    return item.id.rpartition("/")[2]
