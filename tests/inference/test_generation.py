"""Short answers: written in batches, judged, recorded."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import GenerationConfig

from culnig.core.items import Item
from culnig.core.outcomes import Outcomes, alignment
from culnig.errors import InputError
from culnig.evaluation.conditions import Condition
from culnig.evaluation.results import result_rows
from culnig.evaluation.runner import run_conditions
from culnig.inference.answers import AnswerReader
from culnig.inference.batches import make_batches
from culnig.inference.encoding import Encoder
from culnig.inference.generation import AnswerWriter, end_tokens
from tests.tiny_models import tiny_items, tiny_model


def short_items(n: int = 5) -> list[Item]:
    return [
        Item(
            f"s{k}",
            f"s{k}",
            "UK",
            "test",
            "Why? " * (k + 1),
            (),
            "tea",
            answer_prefix="",
            accepted=("tea",),
            language="en",
        )
        for k in range(n)
    ]


@pytest.fixture(scope="module")
def bound():
    return tiny_model("llama")


def written(bound, items, budget):
    writer = AnswerWriter(bound, lambda item, text: True, max_new_tokens=6)
    texts = {}
    for batch in writer.batches(Encoder(bound), items, budget):
        texts.update(zip(batch.numbers, writer.write(batch), strict=True))
    return [texts[number] for number in range(len(items))]


def test_an_answer_does_not_depend_on_its_batch_mates(bound):
    items = short_items()
    assert written(bound, items, budget=1) == written(bound, items, budget=10_000)


def test_an_answer_is_what_greedy_steps_give(bound):
    (item,) = short_items(1)
    ids = list(Encoder(bound).prompt_ids(item))
    start = len(ids)
    with torch.inference_mode():
        while len(ids) < start + 6:
            ids.append(int(bound.model(torch.tensor([ids])).logits[0, -1].argmax()))
            if ids[-1] == bound.model.generation_config.eos_token_id:
                break
    expected = bound.tokenizer.decode(ids[start:], skip_special_tokens=True).strip()
    assert written(bound, [item], budget=100) == [expected]


def greedy(bound, item, n_tokens, ends):
    """The most probable tokens, one plain forward pass each, up to an end token."""
    ids = list(Encoder(bound).prompt_ids(item))
    start = len(ids)
    with torch.inference_mode():
        while len(ids) < start + n_tokens:
            token = int(bound.model(torch.tensor([ids])).logits[0, -1].argmax())
            if token in ends:
                break
            ids.append(token)
    return bound.tokenizer.decode(ids[start:], skip_special_tokens=True).strip()


ALL_BUT_A_FEW = list(range(5, 200))
HOSTILE = {
    "sampling": {"do_sample": True, "temperature": 3.0, "top_k": 0, "top_p": 0.9, "min_p": 0.01},
    "beams": {"num_beams": 3, "num_return_sequences": 2, "length_penalty": -2.0, "early_stopping": True},
    "several answers": {"do_sample": True, "num_return_sequences": 3},
    "repetition penalty": {"repetition_penalty": 5.0},
    "no repeated tokens": {"no_repeat_ngram_size": 1},
    "penalties on the prompt": {"encoder_repetition_penalty": 5.0, "encoder_no_repeat_ngram_size": 1},
    "a dictionary": {"return_dict_in_generate": True, "output_scores": True, "output_logits": True},
    "hidden states": {"return_dict_in_generate": True, "output_hidden_states": True},
    "stop strings": {"stop_strings": [chr(code) for code in range(33, 120)]},
    "forced first": {"forced_bos_token_id": 70},
    "forced last": {"forced_eos_token_id": 70},
    "suppressed": {"suppress_tokens": ALL_BUT_A_FEW},
    "suppressed first": {"begin_suppress_tokens": ALL_BUT_A_FEW},
    "bad words": {"bad_words_ids": [[token] for token in ALL_BUT_A_FEW]},
    "bias": {"sequence_bias": [[[70], 50.0]]},
    "at least": {"min_length": 900, "min_new_tokens": 6},
    "at most": {"max_length": 3, "max_new_tokens": 1},
    "no time": {"max_time": 1e-9},
    "lookup": {"prompt_lookup_num_tokens": 3, "max_matching_ngram_size": 1},
    "early exit": {"assistant_early_exit": 1},
    "static cache": {"cache_implementation": "static"},
    "no cache": {"use_cache": False},
    "guidance": {"guidance_scale": 3.0},
    "watermark": {"watermarking_config": {"bias": 50.0}},
    "token healing": {"token_healing": True},
    "decaying length": {"exponential_decay_length_penalty": (1, 100.0)},
    "contrastive": {"penalty_alpha": 0.6, "top_k": 4},
    "other layers": {"dola_layers": "low"},
    "groups of beams": {"num_beams": 4, "num_beam_groups": 2, "diversity_penalty": 1.0},
    "forced words": {"num_beams": 2, "force_words_ids": [[70]]},
    "a custom entry": {"logits_to_keep": 0, "invented": 1},
}
"""Generation settings that a checkpoint may come with."""


@pytest.mark.parametrize("name", HOSTILE)
def test_the_models_own_generation_settings_do_not_matter(bound, name, monkeypatch):
    """Expected: a loop of plain forward passes and argmax."""
    settings = GenerationConfig(**HOSTILE[name], eos_token_id=1, pad_token_id=0)
    monkeypatch.setattr(bound.model, "generation_config", settings)
    items = short_items(3)
    assert written(bound, items, budget=10_000) == [greedy(bound, item, 6, {1}) for item in items]
    assert bound.model.generation_config is settings


def first_tokens(bound, item, n):
    """The first tokens of the answer without any end token."""
    ids = list(Encoder(bound).prompt_ids(item))
    with torch.inference_mode():
        for _ in range(n):
            ids.append(int(bound.model(torch.tensor([ids])).logits[0, -1].argmax()))
    return ids[-n:]


def model_without_end():
    """A model whose settings and tokenizer have no end token."""
    bound = tiny_model("llama")
    bound.model.generation_config = GenerationConfig()
    bound.model.config.eos_token_id = None
    bound.tokenizer.eos_token = None
    return bound


def test_a_model_without_an_end_token_writes_to_the_limit():
    bound = model_without_end()
    item = short_items(1)[0]
    wanted = first_tokens(bound, item, 6)
    swapped = bound.model.get_output_embeddings().weight
    with torch.no_grad():  # token 0 takes the vocabulary row of the answer's second token
        swapped[[0, wanted[1]]] = swapped[[wanted[1], 0]]
    bound.tokenizer.pad_token = None
    writer = AnswerWriter(bound, lambda item, text: True, max_new_tokens=6)
    assert end_tokens(bound) == []
    (batch,) = writer.batches(Encoder(bound), [item], 1000)
    expected = greedy(bound, item, 6, set())
    assert writer.write(batch) == [expected]
    assert writer.n_cut == 1


@pytest.mark.parametrize("parts", [False, True], ids=["text", "content parts"])
def test_the_turn_end_of_the_chat_template_ends_an_answer(parts):
    bound = model_without_end()
    item = short_items(1)[0]
    content = "m['content'][0]['text']" if parts else "m['content']"
    bound.tokenizer.add_special_tokens({"additional_special_tokens": ["<|done|>"]})
    done = bound.tokenizer.convert_tokens_to_ids("<|done|>")
    assert done < bound.model.config.vocab_size
    bound.tokenizer.chat_template = (
        "{% for m in messages %}{{ m['role'] }}: "
        + ("{{ m['content'] if m['content'] is string and m['role'] == 'user' else " + content + " }}")
        + "<|done|>\n{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"
    )
    assert end_tokens(bound) == [done]
    third = first_tokens(bound, item, 3)[2]
    weight = bound.model.get_output_embeddings().weight
    with torch.no_grad():
        weight[[done, third]] = weight[[third, done]]
    writer = AnswerWriter(bound, lambda item, text: True, max_new_tokens=6)
    (batch,) = writer.batches(Encoder(bound), [item], 1000)
    expected = greedy(bound, item, 6, {done})
    assert len(bound.tokenizer.encode(expected)) < 6
    assert writer.write(batch) == [expected]
    assert writer.n_cut == 0


@pytest.mark.parametrize(
    ("template", "why"),
    [
        (None, "no template"),
        ("{{ raise_exception('no assistant') }}", "a template that raises"),
        ("{% for m in messages %}{{ m['content'] }}\n{% endfor %}", "no special token after an answer"),
        ("{{ messages[0]['content'] }}<end>", "an answer that the template drops"),
    ],
)
def test_templates_without_a_turn_end_add_no_end_token(template, why):
    bound = model_without_end()
    bound.tokenizer.chat_template = template
    assert end_tokens(bound) == [], why


def test_batches_leave_room_for_the_answers(bound):
    items = short_items()
    writer = AnswerWriter(bound, lambda item, text: True, max_new_tokens=50)
    for batch in writer.batches(Encoder(bound), items, token_budget=400):
        longest = max(map(len, batch.token_ids))
        assert len(batch.items) == 1 or len(batch.items) * (longest + 50) <= 400


def test_generation_inside_a_reader_sees_the_whole_head(bound):
    items = short_items(3)
    alone = written(bound, items, budget=1000)
    with AnswerReader(bound) as reader:
        labelled = tiny_items(2)
        batch = make_batches(Encoder(bound).encode_all(labelled))[0]
        reader.answer(batch, Outcomes.empty(labelled))
        assert written(bound, items, budget=1000) == alone


def test_labels_and_short_answers_share_a_run(bound):
    short, labelled = short_items(3), tiny_items(4)
    condition = Condition("unmasked", 1.0, np.empty(0, dtype=np.int64))
    answers = run_conditions(bound, {"a": short, "b": labelled}, [condition], max_new_tokens=4)
    rows = {row["benchmark"]: row for row in result_rows(answers, ["a", "b"], [condition])}
    none = [name for name, value in rows["a"].items() if value is None]
    assert {"option_accuracy", "p_gold", "option_mass", "alignment", "chance"} <= set(none)
    assert rows["a"]["accuracy"] == 0.0
    assert rows["b"]["alignment"] is None
    assert rows["b"]["p_gold"] > 0


def test_a_short_answer_cannot_be_encoded_as_a_label(bound):
    with pytest.raises(InputError, match=r"answered in free text.* can be evaluated but not scored"):
        Encoder(bound).encode(short_items(1)[0])


@pytest.mark.parametrize(
    "change",
    [{"options": ("A",)}, {"answer": "milk"}, {"language": ""}],
)
def test_a_short_answer_that_contradicts_itself_is_refused(change):
    fields = {"options": (), "answer": "tea", "accepted": ("tea",), "language": "en", **change}
    with pytest.raises(InputError, match="item x: an item with `accepted` answers must have no options"):
        Item("x", "x", "UK", "test", "?", **fields)


@pytest.mark.parametrize(
    ("gold", "answered", "expected"),
    [
        ("1", "1", 100.0),
        ("1", "4", 0.0),
        ("2", "4", 0.0),
        ("2", "3", 50.0),
        ("2", "1", 50.0),
        ("3", None, 0.0),
    ],
)
def test_alignment_by_hand(gold, answered, expected):
    assert alignment(("1", "2", "3", "4"), gold, answered) == pytest.approx(expected)


def test_alignment_goes_by_position_so_letters_work_too():
    assert alignment(tuple("ABCDEFGHIJ"), "C", "J") == pytest.approx(0.0)
    assert alignment(tuple("ABCDEFGHIJ"), "C", "A") == pytest.approx(100 * (1 - 2 / 7))


def test_ordinal_items_have_an_alignment(bound):
    from dataclasses import replace

    items = [replace(item, ordinal=True) for item in tiny_items(4)]
    condition = Condition("unmasked", 1.0, np.empty(0, dtype=np.int64))
    answers = run_conditions(bound, {"b": items}, [condition])
    outcomes = answers["b", "unmasked"]
    assert outcomes.is_ordinal
    assert np.all((outcomes.alignment >= 0) & (outcomes.alignment <= 100))
    assert np.all(outcomes.alignment[outcomes.correct] == 100)
    (row,) = result_rows(answers, ["b"], [condition])
    assert row["alignment"] == pytest.approx(outcomes.alignment.mean())
