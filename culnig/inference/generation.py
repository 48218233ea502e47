"""Freely written answers: greedy or sampled generation in batches, padded on the left.

A batch ends as soon as all its answers have ended (end of turn) or have the most tokens allowed. Padding is
masked and positions count from the first real token, so an answer depends on the rest of its batch only
through the float noise of the model's matrix products.

Every token is the most probable one, or drawn from all by `Sampling`. A model's own generation settings
(penalties, forbidden or forced tokens, stop strings, other ways of decoding) are set aside, except for its
end tokens.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np

from culnig.core.items import Item
from culnig.core.outcomes import Outcomes
from culnig.inference.batches import DEFAULT_TOKEN_BUDGET, split_by_budget
from culnig.inference.encoding import EncodedItem
from culnig.inference.templates import ChatTemplate
from culnig.models.base import BoundModel

if TYPE_CHECKING:
    from transformers import GenerationConfig

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


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn: from the model's probabilities, of all tokens."""

    temperature: float
    """Divides the logits; above 0."""
    seed: int = 0
    """The same seed draws the same answer, on the same machine."""


class AnswerWriter:
    """Lets a bound model continue prompts and records what it wrote."""

    def __init__(
        self, bound: BoundModel, is_right: IsRight, max_new_tokens: int = DEFAULT_NEW_TOKENS
    ) -> None:
        self._bound = bound
        self._is_right = is_right
        self._max_new_tokens = max_new_tokens
        self._ends = end_tokens(bound)
        self.n_cut = 0
        """Answers so far that reached `max_new_tokens` without an end."""

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
        written = write_tokens(self._bound, batch.token_ids, self._ends, self._max_new_tokens)
        return [self._text(row) for row in written]

    def _text(self, written: list[int]) -> str:
        """The answer's text up to its end token."""
        end = end_of(written, self._ends)
        self.n_cut += end is None
        return str(self._bound.tokenizer.decode(written[:end], skip_special_tokens=True)).strip()


def write_tokens(
    bound: BoundModel,
    prompts: Sequence[Sequence[int]],
    ends: Sequence[int],
    max_new_tokens: int,
    sampling: Sampling | None = None,
) -> list[list[int]]:
    """What the model writes after each prompt, as token ids, with what may follow an end token."""
    import torch

    model, device = bound.model, bound.input_device
    longest = max(map(len, prompts))
    settings = _settings(ends, max_new_tokens, sampling)
    ids = np.full((len(prompts), longest), settings.pad_token_id, dtype=np.int64)
    mask = np.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, longest - len(prompt) :] = prompt
        mask[row, longest - len(prompt) :] = 1
    devices = [device] if device.type == "cuda" else []
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.inference_mode())
        stack.enter_context(_generation_settings(model, settings))
        if sampling is not None:
            stack.enter_context(torch.random.fork_rng(devices))
            torch.manual_seed(sampling.seed)
        written = model.generate(  # type: ignore[operator]
            input_ids=torch.from_numpy(ids).to(device),
            attention_mask=torch.from_numpy(mask).to(device),
            generation_config=settings,
        )
    rows: list[list[int]] = written[:, longest:].tolist()
    return rows


def end_of(written: Sequence[int], ends: Sequence[int]) -> int | None:
    """Where the first end token is; None without one."""
    return next((index for index, token in enumerate(written) if token in ends), None)


def end_tokens(bound: BoundModel) -> list[int]:
    """Tokens that end an answer: those of the generation settings, the tokenizer and the chat template.

    Without any, an answer goes on to the most tokens allowed.
    """
    settings = getattr(bound.model, "generation_config", None)
    declared = settings.eos_token_id if settings is not None else None
    ends = [declared] if isinstance(declared, int) else list(declared or [])
    if bound.tokenizer.eos_token_id is not None:
        ends.append(int(bound.tokenizer.eos_token_id))
    return list(dict.fromkeys([*ends, *_turn_end(bound.tokenizer)]))


_ANSWER = "culnig0answer"
"""Text that no template changes."""


def _turn_end(tokenizer: Any) -> list[int]:
    """The special token that the chat template writes after an assistant's message, if it does."""
    if not getattr(tokenizer, "chat_template", None):
        return []
    for content in (_ANSWER, [{"type": "text", "text": _ANSWER}]):
        messages: list[dict[str, Any]] = [
            {"role": "user", "content": "?"},
            {"role": "assistant", "content": content},
        ]
        try:
            text = ChatTemplate(tokenizer).render(messages, date.today(), answering=False)
        except Exception:  # a template may raise anything; prompts are checked where they are rendered
            continue
        _, answer, after = text.rpartition(_ANSWER)
        ids = tokenizer.encode(after.lstrip(), add_special_tokens=False) if answer and after.strip() else []
        if ids and ids[0] in {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}:
            return [int(ids[0])]
    return []


def _settings(ends: Sequence[int], max_new_tokens: int, sampling: Sampling | None) -> GenerationConfig:
    """Settings of transformers' `generate` for the most probable token, or a drawn one, and nothing else."""
    from transformers import GenerationConfig

    drawn: dict[str, Any] = {"do_sample": False}
    if sampling is not None:
        drawn = {"do_sample": True, "temperature": sampling.temperature, "top_k": 0, "top_p": 1.0}
    return GenerationConfig(  # type: ignore[no-untyped-call]
        max_new_tokens=max_new_tokens,
        num_beams=1,
        eos_token_id=list(ends) or None,
        pad_token_id=ends[0] if ends else 0,  # masked before a prompt; after an answer it is cut off
        **drawn,
    )


@contextlib.contextmanager
def _generation_settings(model: Any, settings: GenerationConfig) -> Iterator[None]:
    """The model's own settings are `settings` inside: `generate` takes what it is not given from them."""
    before = getattr(model, "generation_config", None)
    model.generation_config = settings
    try:
        yield
    finally:
        model.generation_config = before
