"""Labels are one vocabulary entry in their context, or the item is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from culnig.errors import InputError, LabelError
from culnig.inference.encoding import Encoder
from culnig.models.base import bind_model
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
    with pytest.raises(
        InputError, match=r"item item-0 has \d+ tokens, more than the 1024.*skip_too_long=True"
    ):
        Encoder(tiny_model()).encode(replace(tiny_items(1)[0], prompt="x" * 2000))


def test_items_that_fit_are_told_from_those_that_do_not():
    short, long = replace(tiny_items(1)[0], prompt="x"), replace(tiny_items(1)[0], prompt="x" * 2000)
    assert Encoder(tiny_model()).fitting([short, long, short]) == [short, short]


def test_a_tokenizer_without_a_padding_token_will_do():
    bound = tiny_model()
    expected = [encoded.token_ids for encoded in Encoder(bound).encode_all(tiny_items(3))]
    bound.tokenizer.pad_token = None
    assert bound.tokenizer.pad_token is None
    assert [encoded.token_ids for encoded in Encoder(bound).encode_all(tiny_items(3))] == expected


def spaced_model():
    """A vocabulary with entries that begin with a space, as GPT-2's and Llama 2's have."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    symbols = [*sorted(pre_tokenizers.ByteLevel.alphabet()), "ĠA", "ĠB"]
    tokenizer = Tokenizer(
        models.BPE(
            vocab={symbol: place for place, symbol in enumerate(symbols)}, merges=[("Ġ", "A"), ("Ġ", "B")]
        )
    )
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer)
    return bind_model("spaced", tiny_model().model, fast, [GatedDecoder()])


def spaced_item(**changes):
    asked = replace(tiny_items(1)[0], prompt="Hm?", answer_prefix="Answer: ", options=("A", "B"), answer="B")
    return replace(asked, **changes)


def test_the_space_before_a_label_belongs_to_it_where_the_vocabulary_has_it_so():
    bound = spaced_model()
    encoder = Encoder(bound)
    for _ in range(2):  # the second time from what was learned
        encoded = encoder.encode(spaced_item())
        pieces = bound.tokenizer.convert_ids_to_tokens(list(encoded.option_ids))
        assert pieces == ["ĠA", "ĠB"]
        assert bound.tokenizer.convert_ids_to_tokens([encoded.token_ids[-1]]) == [":"]


def test_a_prefix_without_a_space_keeps_its_end():
    encoded = Encoder(spaced_model()).encode(spaced_item(answer_prefix="Answer:"))
    assert spaced_model().tokenizer.convert_ids_to_tokens(list(encoded.option_ids)) == ["A", "B"]


def test_labels_of_which_only_some_take_the_space_are_refused():
    """With C outside the merges the labels would be read at different positions."""
    with pytest.raises(LabelError, match=r"label 'A' after '.*Answer: ' is not one vocabulary entry"):
        Encoder(spaced_model()).encode(spaced_item(options=("A", "C"), answer="C"))


@pytest.mark.parametrize("changed", [{"prompt": "Is <|im_end|> a tag?"}, {"system": "Stop at <|im_end|>"}])
@pytest.mark.parametrize("template", [None, "{{ messages[-1]['content'] }}"])
def test_a_control_token_in_an_item_is_refused(changed, template):
    """The tokenizer would read the text as the end of the user's message."""
    tokenizer = byte_tokenizer(chat_template=template)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_end|>"]})
    item = replace(tiny_items(1)[0], **changed)
    with pytest.raises(InputError, match=r"item item-0 contains '<\|im_end\|>'.* control token"):
        Encoder(bind_model("tokens", tiny_model().model, tokenizer, [GatedDecoder()])).encode(item)


def test_a_special_token_that_is_a_word_may_be_used_in_a_question():
    tokenizer = byte_tokenizer(chat_template=None)
    tokenizer.add_special_tokens({"additional_special_tokens": ["tea"]})
    bound = bind_model("tokens", tiny_model().model, tokenizer, [GatedDecoder()])
    bound.model.resize_token_embeddings(len(tokenizer))
    assert Encoder(bound).encode(replace(tiny_items(1)[0], prompt="Is tea drunk?"))
