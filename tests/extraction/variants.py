"""Questions in several wordings: prompts that begin alike."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from culnig.items import Item
from tests.tiny_models import tiny_items


def variants(n_questions: int = 4, n_variants: int = 5) -> list[Item]:
    """Questions of unlike lengths and numbers of variants, shuffled, and an item that is like no other."""
    (base, *_, other) = tiny_items(7)
    cultures = ("Spain", "China", "Iran")
    made = [
        replace(
            base,
            id=f"{question}-{variant}",
            question_id=f"q{question}",
            culture=cultures[(question + variant) % 3],
            prompt="Which dish is eaten "
            + "there " * question
            + f"on day {question}?\n"
            + "salt " * (variant % 3)
            + f"variant {variant}",
            answer="ABCD"[(question + variant) % 4],
        )
        for question in range(n_questions)
        for variant in range(n_variants - question % 2)
    ]
    order = np.random.default_rng(0).permutation(len(made))
    return [*(made[place] for place in order), replace(other, system="Be brief.")]
