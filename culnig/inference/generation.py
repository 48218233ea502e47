"""Freely written answers: greedy generation in batches, padded on the left.

A batch ends as soon as all its answers have ended (end of turn) or have the most tokens allowed. Padding is
masked and positions count from the first real token, so an answer depends on the rest of its batch only
through the float noise of the model's matrix products.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from culnig.core.items import Item
from culnig.core.outcomes import Outcomes
from culnig.inference.batches import DEFAULT_TOKEN_BUDGET, split_by_budget
from culnig.inference.encoding import EncodedItem
from culnig.models.base import BoundModel

DEFAULT_NEW_TOKENS = 64

IsRight = Callable[[Item, str], bool]
"""Whether a written answer is right."""


@dataclass(frozen=True)
class PromptBatch:
    """Prompts that are continued together."""

    numbers: tuple[int, ...]
    """Indices of the items in file order."""
    items: tuple[Item, ...]
    token_ids: tuple[tuple[int, ...], ...]

    @property
    def item_ids(self) -> tuple[str, ...]:
        """Ids of the items."""
        return tuple(item.id for item in self.items)

    @property
    def n_tokens(self) -> int:
        """Tokens of the prompts, padding included."""
        return len(self.items) * max(map(len, self.token_ids))

    def halves(self) -> tuple[PromptBatch, PromptBatch]:
        """The batch as two, items in the same order; for batches of at least two items."""
        middle = (len(self.items) + 1) // 2
        return (
            PromptBatch(self.numbers[:middle], self.items[:middle], self.token_ids[:middle]),
            PromptBatch(self.numbers[middle:], self.items[middle:], self.token_ids[middle:]),
        )


class AnswerWriter:
    """Lets a bound model continue prompts and records what it wrote."""

    def __init__(
        self, bound: BoundModel, is_right: IsRight, max_new_tokens: int = DEFAULT_NEW_TOKENS
    ) -> None:
        self._bound = bound
        self._is_right = is_right
        self._max_new_tokens = max_new_tokens

    def batches(
        self, encoded: Sequence[EncodedItem], token_budget: int = DEFAULT_TOKEN_BUDGET
    ) -> list[PromptBatch]:
        """Batches of at most `token_budget` tokens, padding and answers included."""
        lengths = [len(own.token_ids) + self._max_new_tokens for own in encoded]
        return [
            PromptBatch(
                tuple(group),
                tuple(encoded[number].item for number in group),
                tuple(encoded[number].token_ids for number in group),
            )
            for group in split_by_budget(lengths, token_budget)
        ]

    def answer(self, batch: PromptBatch, outcomes: Outcomes) -> None:
        """Write an answer to every prompt and record it with whether it is right."""
        for number, item, text in zip(batch.numbers, batch.items, self.write(batch), strict=True):
            outcomes.predicted[number] = text.replace("\0", "\\0")  # HDF5 strings end at NUL
            outcomes.correct[number] = self._is_right(item, text)

    def write(self, batch: PromptBatch) -> list[str]:
        """The answers as text, without prompts and special tokens."""
        import torch

        model, tokenizer = self._bound.model, self._bound.tokenizer
        longest = max(map(len, batch.token_ids))
        ends = _end_tokens(self._bound)
        ids = np.full((len(batch.items), longest), ends[0], dtype=np.int64)
        mask = np.zeros_like(ids)
        for row, prompt in enumerate(batch.token_ids):
            ids[row, longest - len(prompt) :] = prompt
            mask[row, longest - len(prompt) :] = 1
        device = self._bound.input_device
        with torch.inference_mode():
            written = model.generate(  # type: ignore[operator]
                input_ids=torch.from_numpy(ids).to(device),
                attention_mask=torch.from_numpy(mask).to(device),
                max_new_tokens=self._max_new_tokens,
                do_sample=False,
                num_beams=1,
                temperature=None,
                top_p=None,
                top_k=None,
                eos_token_id=ends,
                pad_token_id=ends[0],
            )
        texts: list[str] = tokenizer.batch_decode(written[:, longest:], skip_special_tokens=True)
        return [text.strip() for text in texts]


def _end_tokens(bound: BoundModel) -> list[int]:
    """Tokens that end an answer: the generation settings' and the tokenizer's."""
    settings = bound.model.generation_config
    declared = settings.eos_token_id if settings is not None else None
    ends = [declared] if isinstance(declared, int) else list(declared or [])
    if bound.tokenizer.eos_token_id is not None:
        ends.append(int(bound.tokenizer.eos_token_id))
    return list(dict.fromkeys(ends)) or [0]
