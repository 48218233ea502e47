"""Where the prompt ends and an option's text begins."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from culnig.errors import InputError, LabelError
from culnig.inference.encoding import Encoder
from culnig.models.base import bind_model
from culnig.models.gated_decoder import GatedDecoder
from tests.texts import base_model, text_items
from tests.tiny_models import byte_tokenizer, tiny_model

ITEM = replace(text_items(1)[0], prompt="They eat", options=("bread", "tea"), answer="tea")


def tokenizer(merges=(), normalizer=None, **special):
    """One token per byte, and one for each pair of `merges`."""
    symbols = [*sorted(pre_tokenizers.ByteLevel.alphabet()), *map("".join, merges)]
    made = Tokenizer(models.BPE(vocab={symbol: at for at, symbol in enumerate(symbols)}, merges=list(merges)))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    if normalizer is not None:
        made.normalizer = normalizer
    return PreTrainedTokenizerFast(tokenizer_object=made, **special)


def encoded(item, using):
    bound = bind_model("texts", tiny_model().model, using, [GatedDecoder()])
    return Encoder(bound).encode(item)


def pieces(using, ids):
    return "".join(using.convert_ids_to_tokens(list(ids))).replace("Ġ", "_")


def test_the_row_is_the_prompt_and_the_gold_text_but_its_last_token():
    own = encoded(ITEM, using := tokenizer())
    assert [pieces(using, text) for text in own.texts] == ["bread", "tea"]
    assert pieces(using, own.token_ids) == "They_eat_te"
    assert own.read == 1
    assert pieces(using, own.targets) == "tea"
    assert [pieces(using, row.token_ids) for row in own.by_option()] == ["They_eat_brea", "They_eat_te"]


def test_a_space_that_the_tokenizer_joins_to_a_word_belongs_to_every_option():
    """Else one option would follow the space, and the other the word before it."""
    own = encoded(ITEM, using := tokenizer([("Ġ", "t")]))
    assert [pieces(using, text) for text in own.texts] == ["_bread", "_tea"]
    assert using.convert_ids_to_tokens(list(own.texts[1])) == ["Ġt", "e", "a"]
    assert [pieces(using, row.token_ids) for row in own.by_option()] == ["They_eat_brea", "They_eat_te"]


def test_a_join_across_the_border_takes_the_end_of_the_prompt_along():
    """Without a delimiter the tokenizer may join the prompt's last letter and the option's first."""
    item = replace(ITEM, answer_prefix="")
    own = encoded(item, using := tokenizer([("t", "t")]))
    assert [pieces(using, text) for text in own.texts] == ["tbread", "ttea"]
    assert using.convert_ids_to_tokens(list(own.texts[1])) == ["tt", "e", "a"]


def test_options_with_a_common_beginning_are_read_whole():
    own = encoded(replace(ITEM, options=("tea", "tea with milk")), using := tokenizer())
    assert [pieces(using, text) for text in own.texts] == ["tea", "tea_with_milk"]


def test_an_empty_prompt_becomes_the_begin_token_or_else_the_end_token():
    item = replace(ITEM, prompt="", answer_prefix="")
    for special in ({"eos_token": "!"}, {"bos_token": "?", "eos_token": "!"}):
        own = encoded(item, using := tokenizer(**special))
        assert pieces(using, own.token_ids) == f"{special.get('bos_token', '!')}te"
    with pytest.raises(LabelError, match="its prompt is empty and this tokenizer has neither a begin nor"):
        encoded(item, tokenizer())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("tea", "@"), "'@' vanishes: this tokenizer has no tokens for it after 'They eat '"),
        (("tea", "te@a"), "the options 'tea' and 'te@a' are the same tokens for this model"),
    ],
)
def test_an_option_whose_text_vanishes_is_refused(options, said):
    dropping = tokenizer(normalizer=normalizers.Replace("@", ""))
    with pytest.raises(LabelError, match=f"item item-0: {said}"):
        encoded(replace(ITEM, options=options, answer="tea"), dropping)


def test_characters_without_tokens_are_refused():
    words = Tokenizer(models.WordLevel({"They": 0, "eat": 1, "tea": 2, "?": 3}, unk_token="?"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    using = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="?")
    with pytest.raises(LabelError, match="'bread' has characters that this tokenizer does not know"):
        encoded(ITEM, using)


def test_control_tokens_in_options_and_long_options_are_refused():
    using = byte_tokenizer(None)
    with pytest.raises(InputError, match=r"item item-0 contains '<end>'.* control token"):
        encoded(replace(ITEM, options=("tea", "<end>"), answer="tea"), using)
    bound = base_model()
    longest = replace(ITEM, options=("tea", "t" * (1024 - len("They eat "))), answer="tea")
    assert [len(row.token_ids) for row in Encoder(bound).encode(longest).by_option()] == [11, 1023]
    too_long = replace(ITEM, options=("tea", "t" * 1100), answer="tea")
    with pytest.raises(InputError, match="item item-0 has 1108 tokens, more than the 1024"):
        Encoder(bound).encode(too_long)
    assert Encoder(bound).fitting([longest, too_long]) == [longest]


def test_with_a_chat_template_the_text_begins_the_answer():
    bound = tiny_model()
    own = Encoder(bound).encode(replace(ITEM, system="Be brief."))
    assert bound.tokenizer.decode(list(own.token_ids)).endswith("They eat\n<|assistant|>te")


def test_the_record_of_prompts_depends_on_every_option():
    bound = base_model()
    encoder = Encoder(bound)
    records = [
        encoder.record([encoder.encode(item)]) for item in (ITEM, replace(ITEM, options=("breads", "tea")))
    ]
    assert records[0]["examples"] == records[1]["examples"] == ["They eat tea"]
    assert records[0]["hash"] != records[1]["hash"]
