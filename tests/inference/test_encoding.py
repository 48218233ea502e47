"""Labels are one vocabulary entry in their context, or the item is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from culnig.bound import bind_model
from culnig.errors import InputError, LabelError
from culnig.inference.encoding import Encoder
from culnig.models.gated_decoder import GatedDecoder
from tests.tiny_models import byte_tokenizer, tiny_items, tiny_model


def test_the_prompt_is_the_chat_template_and_the_answer_prefix():
    bound = tiny_model()
    item = replace(tiny_items(1)[0], prompt="Hm?", system="Be short.")
    encoded = Encoder(bound).encode(item)
    text = '<|system|>Be short.\n<|user|>Hm?\n<|assistant|>{"answer_choice":"'
    assert bound.tokenizer.decode(encoded.token_ids) == text
    assert bound.tokenizer.decode([encoded.gold_id]) == item.answer
    assert bound.tokenizer.decode(list(encoded.option_ids)) == "ABCD"


def test_without_a_chat_template_the_plain_prompt_is_used():
    model = tiny_model().model
    bound = bind_model("plain", model, byte_tokenizer(chat_template=None), [GatedDecoder()])
    encoded = Encoder(bound).encode(replace(tiny_items(1)[0], prompt="Hm?"))
    assert bound.tokenizer.decode(encoded.token_ids) == 'Hm?\n{"answer_choice":"'


def test_a_label_of_several_entries_is_refused_with_item_label_and_pieces():
    item = replace(tiny_items(1)[0], options=("A", "10"), answer="A")
    with pytest.raises(LabelError, match=r"item item-0: label '10' .*\['1', '0'\]"):
        Encoder(tiny_model()).encode(item)


def test_a_label_that_merges_with_the_prefix_is_refused():
    """A tokenizer with a merge of prefix and label has no entry that is read as the label alone."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    symbols = [*sorted(pre_tokenizers.ByteLevel.alphabet()), '"A']
    vocabulary = {symbol: place for place, symbol in enumerate(symbols)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[('"', "A")]))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "isolated")
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer)
    bound = bind_model("merging", tiny_model().model, fast, [GatedDecoder()])
    item = replace(tiny_items(1)[0], prompt="x", options=("A", "B"), answer="B")
    with pytest.raises(LabelError, match="label 'A' after"):
        Encoder(bound).encode(item)


def test_an_item_longer_than_the_model_allows_is_named():
    with pytest.raises(InputError, match=r"item item-0 has \d+ tokens, more than the 1024"):
        Encoder(tiny_model()).encode(replace(tiny_items(1)[0], prompt="x" * 2000))
