"""The tokens of options that are read as texts after a prompt.

Prompt and option are encoded together, because a tokenizer may join the end of one with the beginning of the
other (a space and the word after it). What all encodings of an item have in common with that of the prompt
alone is read as the prompt, and the rest of each encoding as the option's text. So every option follows the
same tokens, and its probability is that of the same tokens that the whole text has. Where the prompt's tokens
stay as they are, which is the usual case, this is the rule of lm-evaluation-harness.

An empty prompt becomes the tokenizer's begin token, or else its end token.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

from culnig.errors import LabelError

Ids = tuple[int, ...]


def texts_after(
    name: str, options: Sequence[str], text: str, encode: Callable[[str], Sequence[int]], tokenizer: Any
) -> tuple[Ids, tuple[Ids, ...]]:
    """The prompt's tokens, and those of each option after it; `text` is the prompt up to the options.

    `name` is what errors call the item.
    LabelError for an option of which no token is left, or that the tokenizer cannot tell from another or
    has no tokens for.
    """
    wholes = [tuple(encode(text + option)) for option in options]
    prompt = tuple(encode(text))
    prompt = prompt[: min(n_common(prompt, whole) for whole in wholes)]
    texts = tuple(whole[len(prompt) :] for whole in wholes)
    for option, own in zip(options, texts, strict=True):
        if not own:
            raise LabelError(
                f"{name}: {option!r} vanishes: this tokenizer has no tokens for it after {text[-24:]!r}; "
                "remove it or write it in other characters"
            )
        if tokenizer.unk_token_id is not None and tokenizer.unk_token_id in own:
            raise LabelError(
                f"{name}: {option!r} has characters that this tokenizer does not know; write "
                "it in others or use another model"
            )
    for (first, own), (second, further) in itertools.combinations(zip(options, texts, strict=True), 2):
        if own == further:
            raise LabelError(
                f"{name}: the options {first!r} and {second!r} are the same tokens for this model; "
                "remove one or write it differently"
            )
    return prompt or _beginning(name, tokenizer), texts


def n_common(first: Sequence[int], second: Sequence[int]) -> int:
    """Number of token ids that two prompts have in common from their beginning."""
    limit = min(len(first), len(second))
    return next((index for index in range(limit) if first[index] != second[index]), limit)


def _beginning(name: str, tokenizer: Any) -> Ids:
    for token in (tokenizer.bos_token_id, tokenizer.eos_token_id):
        if token is not None:
            return (int(token),)
    raise LabelError(
        f"{name}: its prompt is empty and this tokenizer has neither a begin nor an end token to "
        "read instead; give the wording a `control` or another text around {question}"
    )
