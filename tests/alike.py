"""Questions in several wordings: prompts that begin alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from culnig.core.items import Item
from culnig.inference.encoding import EncodedItem
from tests.tiny_models import tiny_items


def variants(n_questions: int = 4, n_variants: int = 5, *, uneven: bool = False) -> list[Item]:
    """Questions of unlike lengths in several variants, shuffled, and an item that is like no other.

    Every other question of an `uneven` set has one variant less.
    """
    (base, *_, other) = tiny_items(7)
    cultures = ("Spain", "China", "Iran")
    made = [
        replace(
            base,
            id=f"{question}-{variant}",
            question_id=f"q{question}",
            culture=cultures[(question + variant) % 3],
            prompt=f"{question} days at sea people keep an old custom. Which dish is eaten "
            + "there " * question
            + f"on day {question}?\n"
            + "salt " * (variant % 3)
            + f"variant {variant}",
            answer="ABCD"[(question + variant) % 4],
        )
        for question in range(n_questions)
        for variant in range(n_variants - uneven * (question % 2))
    ]
    order = np.random.default_rng(0).permutation(len(made))
    return [*(made[place] for place in order), replace(other, system="Be brief.")]


def token_items(*rows: Sequence[int]) -> list[EncodedItem]:
    """Items of these token ids."""
    return [EncodedItem(tiny_items(1)[0], tuple(row), 5, (5, 6)) for row in rows]
