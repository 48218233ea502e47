"""Items whose options are texts, and their log-probabilities the plain way: one option at a time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from culnig.core.items import Item, Normalization
from culnig.models.base import BoundModel, bind_model
from culnig.models.gated_decoder import GatedDecoder
from tests.tiny_models import byte_tokenizer, tiny_items, tiny_model

OPTIONS = ("bread with salt", "bread with honey", "tea", "a bowl of rice")
"""Of unlike lengths, two of them with a common beginning."""


def text_items(n: int = 5, likelihood: Normalization = "none") -> list[Item]:
    """Short items of different lengths and cultures, whose options follow the prompt after a space."""
    return [
        replace(
            item,
            options=OPTIONS[number % 2 :],
            answer=OPTIONS[1 + (number * 2) % 3],
            answer_prefix=" ",
            likelihood=likelihood,
        )
        for number, item in enumerate(tiny_items(n))
    ]


def base_model(family: str = "llama") -> BoundModel:
    """A tiny model without a chat template."""
    return bind_model("tiny-base", tiny_model(family).model, byte_tokenizer(None), [GatedDecoder()])


def plain_log_probability(model: Any, tokenizer: Any, text: str, option: str) -> torch.Tensor:
    """Σ log P(token | all before it) over the tokens that `option` adds to `text`, in float64."""
    before = tokenizer.encode(text, add_special_tokens=False)
    ids = tokenizer.encode(text + option, add_special_tokens=False)
    assert ids[: len(before)] == before
    assert len(ids) > len(before)
    logits = model(input_ids=torch.tensor([ids])).logits[0].double().log_softmax(-1)
    return torch.stack([logits[at - 1, ids[at]] for at in range(len(before), len(ids))]).sum()
