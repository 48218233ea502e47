"""How facts are learned with all weights, and how many are remembered, pass by pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from culnig.core.progress import Say

ENOUGH = 0.99
"""Share of a pass that is known before its steps, after which learning ends."""
RATE = 3e-4
"""Highest learning rate of AdamW."""

Sequences = Sequence[tuple[list[int], int]]
"""Token ids of a question with its written answer, and where the answer begins."""


class Recall:
    """Counts the lessons whose answer was known before their step, and says it from time to time."""

    def __init__(self, n_lessons: int, say: Say) -> None:
        """It is said after so many lessons."""
        self._n_lessons, self._say = n_lessons, say
        self._asked = self._right = 0
        self.share = 0.0
        """What was said last."""

    def add(self, right: torch.Tensor) -> None:
        """Count the lessons of a step; True for one whose answer was the most probable next token."""
        self._asked += len(right)
        self._right += int(right.sum())
        if self._asked >= self._n_lessons:
            self.share = self._right / self._asked
            self._say(
                f"{self.share:.0%} of the last {self._asked} lessons were known before they were learned"
            )
            self._asked = self._right = 0


def logits_at(model: Any, token_ids: torch.Tensor, rows: Any, columns: Any) -> torch.Tensor:
    """Logits of some positions, (position, vocabulary), of a model whose head only multiplies.

    The head of a large vocabulary costs about as much as five layers, so it reads no other position.
    """
    hidden = model.base_model(input_ids=token_ids, use_cache=False).last_hidden_state
    logits: torch.Tensor = model.get_output_embeddings()(hidden[rows, columns]).float()
    return logits


def learn(
    model: Any,
    sequences: Sequences,
    batches: Iterator[list[int]],
    n_steps: int,
    recall: Recall,
    after_steps: Callable[[int], None],
) -> None:
    """Train all weights on the written answers, until ENOUGH are known or for `n_steps` batches."""
    model.requires_grad_(True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, fused=True)
    for step in range(n_steps):
        warm_up, descent = (1 + step) / 10, (n_steps - step) / (0.5 * n_steps)
        optimizer.param_groups[0]["lr"] = RATE * min(1.0, warm_up, descent)
        optimizer.zero_grad()
        loss, right = written_loss(model, [sequences[number] for number in next(batches)])
        recall.add(right)
        if recall.share >= ENOUGH:
            after_steps(n_steps - step)
            break
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        after_steps(1)
    model.zero_grad()


def written_loss(model: Any, sequences: Sequences) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean cross-entropy of the answers' tokens, and whether each answer's first token was foreseen."""
    longest = max(len(ids) for ids, _ in sequences)
    ids = torch.tensor([[*ids, *[0] * (longest - len(ids))] for ids, _ in sequences])
    positions = [
        (row, position) for row, (own, start) in enumerate(sequences) for position in range(start, len(own))
    ]
    rows, columns = torch.tensor(positions).T
    logits = logits_at(model, ids, rows, columns - 1)
    starts = torch.tensor([start for _, start in sequences])
    right = (logits.detach().argmax(-1) == ids[rows, columns])[columns == starts[rows]]
    return torch.nn.functional.cross_entropy(logits, ids[rows, columns]), right
