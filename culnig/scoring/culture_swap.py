"""Culture swap: activations counted from their mean over the other cultures asked the same question.

With this baseline a contribution is [a(c,q) − mean over c′ ≠ c of a(c′,q)] · ∂M(c,q)/∂a, token by token: what
it would cost to have the other cultures' activations in place of the culture's own. That asks for prompts
that line up: as many tokens, most of them the same. The cultures of a question are in one batch, so the mean
comes from the batch's own sums over its cultures, and takes no further pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from culnig.core.neurons import Layout
from culnig.errors import EnvironmentProblem, InputError, argument, option
from culnig.inference.batches import Batch
from culnig.inference.encoding import EncodedItem

if TYPE_CHECKING:
    import torch

Baseline = Literal["other-cultures"]
OTHER_CULTURES: Baseline = "other-cultures"

MOST_DIFFERENT = 0.25
"""Largest share of tokens in which the prompts of a question may differ."""


@dataclass(frozen=True)
class QuestionBatch(Batch):
    """A batch of whole questions."""

    questions: tuple[int, ...] = ()
    """Number of each item's question."""

    def renumbered(self, numbers: Sequence[int]) -> QuestionBatch:
        """The batch with item i renumbered to `numbers[i]`."""
        renumbered = super().renumbered(numbers).numbers
        return QuestionBatch(renumbered, self.items, self.questions)

    def halves(self) -> tuple[QuestionBatch, QuestionBatch]:
        """The batch as two of whole questions; EnvironmentProblem for a single one."""
        middle = (len(self.items) + 1) // 2
        first = [number for number, own in enumerate(self.questions) if own <= self.questions[middle - 1]]
        if len(first) == len(self.items):
            first = [number for number, own in enumerate(self.questions) if own < self.questions[-1]]
        if not first:
            raise EnvironmentProblem(
                f"out of memory with the {len(self.items)} cultures of the question of item "
                f"{self.item_ids[0]}, which {option('baseline', OTHER_CULTURES)} needs in one batch; choose "
                f"fewer {argument('cultures')} or a smaller number format"
            )
        split = len(first)
        return (
            QuestionBatch(self.numbers[:split], self.items[:split], self.questions[:split]),
            QuestionBatch(self.numbers[split:], self.items[split:], self.questions[split:]),
        )


def check_baseline(baseline: Baseline | None, layout: Layout, encoded: Sequence[EncodedItem]) -> None:
    """InputError where activations cannot be counted from a baseline."""
    if baseline is None:
        return
    if layout.n_experts:
        raise InputError(
            f"{option('baseline', baseline)} needs every neuron's activation at every token, but tokens of "
            "different cultures are routed to different experts; leave it out"
        )
    aligned_questions(encoded)


def question_batches(encoded: Sequence[EncodedItem], token_budget: int) -> list[Batch]:
    """Batches of whole questions, longest first; of at most `token_budget` tokens, or of one question.

    InputError where a question's prompts do not line up.
    """
    questions = sorted(aligned_questions(encoded), key=lambda own: -len(encoded[own[0]].token_ids))
    together: list[list[list[int]]] = []
    for own in questions:
        longest = len(encoded[together[-1][0][0]].token_ids) if together else 0
        if not together or (sum(map(len, together[-1])) + len(own)) * longest > token_budget:
            together.append([])
        together[-1].append(own)
    return [
        QuestionBatch(
            tuple(number for own in batch for number in own),
            tuple(encoded[number] for own in batch for number in own),
            tuple(question for question, own in enumerate(batch) for _ in own),
        )
        for batch in together
    ]


def aligned_questions(encoded: Sequence[EncodedItem]) -> list[list[int]]:
    """Indices of the items of each question, one of every culture that was asked.

    The first item of a question in one culture belongs to the first in every other, and so on. InputError
    where only one culture was asked, or the prompts do not line up.
    """
    questions: dict[tuple[str, int], list[int]] = {}
    asked: dict[tuple[str, str], int] = {}
    for number, own in enumerate(encoded):
        key = own.item.question_id, own.item.culture
        asked[key] = asked.get(key, -1) + 1
        questions.setdefault((own.item.question_id, asked[key]), []).append(number)
    for (question, _), numbers in questions.items():
        if reason := _misaligned([encoded[number] for number in numbers]):
            raise InputError(
                f"{option('baseline', OTHER_CULTURES)} compares cultures token by token, but of question "
                f"{question!r} {reason}; leave it out, or choose items and {argument('cultures')} whose "
                "prompts differ only in the culture's name"
            )
    return list(questions.values())


def _misaligned(encoded: Sequence[EncodedItem]) -> str:
    """Why prompts do not line up; empty where they do."""
    first, *remaining = encoded
    if not remaining:
        return f"only {first.item.culture} has item {first.item.id}"
    length = len(first.token_ids)
    for own in remaining:
        pair = f"items {first.item.id} and {own.item.id}"
        if len(own.token_ids) != length:
            return f"{pair} have {length} and {len(own.token_ids)} tokens"
        differ = sum(a != b for a, b in zip(first.token_ids, own.token_ids, strict=True))
        if differ > MOST_DIFFERENT * length:
            return f"{pair} differ in {differ} of {length} tokens"
    return ""


def from_baseline(activation: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Activations (item, token, neuron) as the batch counts them: from zero, or from its other cultures."""
    return without_others(activation, batch.questions) if isinstance(batch, QuestionBatch) else activation


def without_others(activation: torch.Tensor, questions: Sequence[int]) -> torch.Tensor:
    """Activations (item, token, neuron) minus their mean over the other items of each one's question."""
    import torch

    of_item = torch.as_tensor(questions, device=activation.device)
    counts = torch.as_tensor(np.bincount(questions), device=activation.device)
    wide = activation.detach().float()
    sums = wide.new_zeros((len(counts), *wide.shape[1:])).index_add_(0, of_item, wide)
    n_further = (counts - 1)[of_item].view(-1, 1, 1)
    return (wide - (sums[of_item] - wide) / n_further).to(activation.dtype)
