"""Items as token ids: chat template, answer prefix, label tokens.

A label is read at the last position, so it must be exactly one vocabulary entry *in its context*: the ids
of prompt + label must be the ids of the prompt and one more. That is checked, never assumed. Options that are
read as texts may have any number of tokens (`inference.option_texts`).

Special tokens do not depend on who writes them, template or tokenizer: where the tokenizer begins plain
text with a begin token, every prompt begins with exactly one, and no prompt gets the end token that some
tokenizers append.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import cached_property
from hashlib import sha256
from typing import Any

import numpy as np

from culnig.core.items import NO_CULTURE, Item
from culnig.errors import InputError, LabelError, option
from culnig.inference.option_texts import Ids, texts_after
from culnig.inference.prompts import PromptWriter
from culnig.models.base import BoundModel


@dataclass(frozen=True)
class EncodedItem:
    """An item as the model sees it."""

    item: Item
    token_ids: tuple[int, ...]
    """Prompt up to and including the answer prefix."""
    gold_id: int
    """Vocabulary entry of the gold label; -1 for an item without labels."""
    option_ids: tuple[int, ...]
    """Vocabulary entries of all labels, in the item's order."""
    texts: tuple[tuple[int, ...], ...] = ()
    """Tokens of each option's text after the prompt, where options are read as texts. Then `token_ids` end
    with one of the texts, but for its last token: that is the text which is read."""
    read: int = 0
    """Index of that text; that of the gold option, as encoded."""

    @property
    def targets(self) -> tuple[int, ...]:
        """The tokens whose probabilities are read, each at the token before it: the last ones of the item."""
        return self.texts[self.read] if self.texts else (self.gold_id,)

    def by_option(self) -> list[EncodedItem]:
        """The item with each of its texts in turn; an item with labels by itself."""
        if not self.texts:
            return [self]
        prompt = self.token_ids[: len(self.token_ids) + 1 - len(self.targets)]
        return [
            replace(self, token_ids=prompt + text[:-1], read=option) for option, text in enumerate(self.texts)
        ]

    @classmethod
    def of_prompt(cls, token_ids: Sequence[int], item_id: str = "prompt") -> EncodedItem:
        """A prompt of which only the token ids matter."""
        item = Item(item_id, item_id, NO_CULTURE, "identify", "", ("A", "B"), "A")
        return cls(item, tuple(token_ids), 0, (0, 1))


_EXAMPLES = 3
"""Prompts that a record shows as text."""


class Encoder:
    """Encodes items for one model."""

    def __init__(self, bound: BoundModel, prompt_date: date | str | None = None) -> None:
        """`prompt_date` is the date for chat templates that write it, by default today."""
        self._bound = bound
        self._tokenizer = bound.tokenizer
        self._max_tokens = bound.max_tokens
        self._prompts = PromptWriter(bound.tokenizer, prompt_date)
        self._label_ids: dict[tuple[str, str, int], int] = {}
        self._spaced_prefixes: set[str] = set()
        """Answer prefixes whose last space belongs to the label's vocabulary entry."""

    def encode_all(self, items: Sequence[Item]) -> list[EncodedItem]:
        """Encode items, in their order; LabelError or InputError names the first that cannot be encoded."""
        return [self.encode(item) for item in items]

    def encode(self, item: Item) -> EncodedItem:
        """Encode one item; InputError if its answer is not a label."""
        if not item.options:
            raise InputError(
                f"item {item.id} is answered in free text, not by a label; such a benchmark can be evaluated "
                "but not scored"
            )
        if item.likelihood:
            return self._with_texts(item)
        ids, options = self._prompt_and_labels(item)
        if len(set(options)) != len(options):
            raise LabelError(
                f"item {item.id}: two of the labels {item.options} are the same vocabulary entry"
            )
        return EncodedItem(item, tuple(ids), options[item.options.index(item.answer)], options)

    def encode_answerable(self, items: Sequence[Item]) -> list[EncodedItem]:
        """Encode the items of a benchmark that may be answered in free text; errors as for `encode_all`."""
        return [
            EncodedItem(item, tuple(self.prompt_ids(item)), -1, ()) if item.accepted else self.encode(item)
            for item in items
        ]

    def record(self, encoded: Sequence[EncodedItem]) -> dict[str, Any]:
        """What was asked, for the record of a benchmark: a hash of all token ids, and what decides them.

        `hash` is the SHA-256 over each prompt's length and token ids (64-bit little-endian integers), with
        each option's text in turn where options are read as texts. `examples` are the first prompt, the
        middle one and the last as text, `date` is the day in prompts that show one, and `template` the
        SHA-256 of the chat template. Either is None where there is none.
        """
        digest = sha256()
        for row in (row for own in encoded for row in own.by_option()):
            ids = _whole(row)
            digest.update(np.array([len(ids), *ids], dtype="<i8").tobytes())
        shown = dict.fromkeys(
            np.linspace(0, len(encoded) - 1, _EXAMPLES).astype(int).tolist() if encoded else ()
        )
        is_dated = any(self._prompts.is_dated(own.item) for own in encoded)
        return {
            "hash": digest.hexdigest(),
            "examples": [str(self._tokenizer.decode(_whole(encoded[index]))) for index in shown],
            "date": self._prompts.date.isoformat() if is_dated else None,
            "template": self._prompts.template_hash,
        }

    def prompt_ids(self, item: Item) -> list[int]:
        """Token ids of the prompt; InputError if it is longer than the model allows."""
        return self._prompt_ids(f"item {item.id}", self._prompts.write(item))

    def text_ids(self, text: str, name: str) -> list[int]:
        """Token ids of a text as it stands, without a chat template; `name` is what errors call it."""
        return self._prompt_ids(name, text)

    def prompt_text(self, item: Item) -> str:
        """The prompt as text; TemplateError or InputError if it cannot be written."""
        return self._prompts.write(item)

    def text_after(self, prompt: str, text: str, name: str) -> tuple[Ids, Ids]:
        """Token ids of a prompt, and of a text after it, as they are where both are encoded together."""
        ids, (own,) = self._texts_after(name, prompt, (text,))
        return ids, own

    def fitting(self, items: Sequence[Item]) -> list[Item]:
        """The items whose prompt is no longer than the model allows, in their order."""
        limit = self._max_tokens
        return [item for item in items if limit is None or self._n_tokens(item) <= limit]

    def _n_tokens(self, item: Item) -> int:
        """Tokens that the model reads of an item, with the longest of its texts."""
        text = self._prompts.write(item)
        if not item.likelihood:
            return len(self._ids(text))
        return max(len(self._ids(text + option)) - 1 for option in item.options)

    def _with_texts(self, item: Item) -> EncodedItem:
        prompt, texts = self._texts_after(f"item {item.id}", self._prompts.write(item), item.options)
        gold = item.options.index(item.answer)
        return EncodedItem(item, prompt + texts[gold][:-1], -1, (), texts, gold)

    def _texts_after(self, name: str, prompt: str, options: Sequence[str]) -> tuple[Ids, tuple[Ids, ...]]:
        prompt_ids, texts = texts_after(name, options, prompt, self._ids, self._tokenizer)
        for text in texts:
            ids = [*prompt_ids, *text]
            self._bound.check_token_ids(ids, name)
            self._check_length(name, len(ids) - 1)
        return prompt_ids, texts

    def _prompt_ids(self, name: str, text: str) -> list[int]:
        ids = self._ids(text)
        self._bound.check_token_ids(ids, name)
        self._check_length(name, len(ids))
        return ids

    def _check_length(self, name: str, n_tokens: int) -> None:
        if self._max_tokens is not None and n_tokens > self._max_tokens:
            raise InputError(
                f"{name} has {n_tokens} tokens, more than the {self._max_tokens} of this model; "
                f"leave such items out ({option('skip_too_long')}) or use a model with a longer context"
            )

    def _prompt_and_labels(self, item: Item) -> tuple[list[int], tuple[int, ...]]:
        """Ids of the prompt and of each label after it.

        Where a vocabulary has entries that begin with a space (" A"), the space that ends an answer prefix
        belongs to the label, so the prompt ends before it.
        """
        text = self._prompts.write(item)
        stem = text.rstrip(" ")
        if item.answer_prefix not in self._spaced_prefixes:
            try:
                return self._labels_after(item, text, text)
            except LabelError:
                if stem == text:
                    raise
        try:
            ids_and_labels = self._labels_after(item, text, stem)
        except LabelError:
            return self._labels_after(item, text, text)  # its error shows the prefix with its space
        self._spaced_prefixes.add(item.answer_prefix)
        return ids_and_labels

    def _labels_after(self, item: Item, text: str, prompt: str) -> tuple[list[int], tuple[int, ...]]:
        ids = self._prompt_ids(f"item {item.id}", prompt)
        spaces = len(text) - len(prompt)
        return ids, tuple(self._label_id(item, text, ids, label, spaces) for label in item.options)

    def _ids(self, text: str) -> list[int]:
        """The text as token ids, with the begin tokens once and without end tokens."""
        ids: list[int] = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        begin, bos = self._begin_ids, self._tokenizer.bos_token_id
        once = begin or ([] if bos is None else [bos])
        while once and ids[: 2 * len(once)] == once + once:
            ids = ids[len(once) :]
        if begin and ids[: len(begin)] != begin and not text.lstrip().startswith(self._begin_text):
            ids = begin + ids
        return ids

    @cached_property
    def _begin_ids(self) -> list[int]:
        """The tokens that the tokenizer itself writes before a text: usually one or none."""
        plain: list[int] = self._tokenizer("x", add_special_tokens=False)["input_ids"]
        whole: list[int] = self._tokenizer("x", add_special_tokens=True)["input_ids"]
        for start in range(len(whole) - len(plain) + 1):
            if whole[start : start + len(plain)] == plain:
                return whole[:start]
        special = set(self._tokenizer.all_special_ids)
        return list(itertools.takewhile(special.__contains__, whole))

    @cached_property
    def _begin_text(self) -> str:
        """The begin tokens as a template writes them."""
        return "".join(self._tokenizer.convert_ids_to_tokens(self._begin_ids))

    def _label_id(self, item: Item, text: str, ids: list[int], label: str, spaces: int) -> int:
        context = (text[-64:], label, spaces)
        if context not in self._label_ids:
            with_label = self._ids(text + label)
            if with_label[:-1] != ids:
                added = with_label[len(ids) :] if with_label[: len(ids)] == ids else with_label[-4:]
                tokens = self._tokenizer.convert_ids_to_tokens(added)
                raise LabelError(
                    f"item {item.id}: label {label!r} after {text[-24:]!r} is not one vocabulary entry of "
                    f"this model but ends in {tokens}; the benchmark needs other labels or another "
                    "answer prefix for this tokenizer"
                )
            self._label_ids[context] = with_label[-1]
        return self._label_ids[context]


def _whole(encoded: EncodedItem) -> list[int]:
    """The prompt, with the whole of the text that is read."""
    return [*encoded.token_ids, *(encoded.targets[-1:] if encoded.texts else ())]
