"""The loss of the paper's fine-tuning: cross-entropy of the label token after the answer prefix alone.

Batches are padded on the right and need no attention mask (see `inference.batches`); the output head sees the
last real position of each example only.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from culnig.inference.batches import padded
from culnig.inference.encoding import EncodedItem


class Examples(torch.utils.data.Dataset[EncodedItem]):
    """Encoded items by number."""

    def __init__(self, encoded: Sequence[EncodedItem]) -> None:
        self._encoded = encoded

    def __len__(self) -> int:
        return len(self._encoded)

    def __getitem__(self, number: int) -> EncodedItem:
        return self._encoded[number]


def collate(examples: Sequence[EncodedItem]) -> dict[str, torch.Tensor]:
    """`input_ids` (example, token), `last` (example,): index of the last token, `gold`: label's id."""
    prompts = [example.token_ids for example in examples]
    return {
        "input_ids": torch.from_numpy(padded(prompts)),
        "last": torch.tensor([len(prompt) for prompt in prompts]) - 1,
        "gold": torch.tensor([example.gold_id for example in examples]),
    }


class LabelLoss:
    """Mean cross-entropy of the gold labels of a batch, over the whole vocabulary."""

    def __init__(self, head: torch.nn.Module) -> None:
        self._head = head
        self._last: torch.Tensor | None = None

    @contextlib.contextmanager
    def attached(self) -> Iterator[None]:
        """The head sees last positions while a loss is computed inside."""
        hook = self._head.register_forward_pre_hook(self._keep_last)
        try:
            yield
        finally:
            hook.remove()

    def _keep_last(self, head: Any, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        if self._last is None:
            return inputs
        hidden, *arguments = inputs
        rows = torch.arange(hidden.shape[0], device=hidden.device)
        return (hidden[rows, self._last.to(hidden.device)].unsqueeze(1), *arguments)

    def __call__(self, model: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """The loss, a scalar that gradients can be taken of."""
        self._last = batch["last"]
        try:
            logits = model(input_ids=batch["input_ids"], use_cache=False).logits[:, -1]
        finally:
            self._last = None
        return torch.nn.functional.cross_entropy(logits.float(), batch["gold"].to(logits.device))
