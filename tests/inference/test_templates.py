"""Chat templates of many families, and those that are refused with a named error."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from datetime import date

import pytest

from culnig.errors import InputError, TemplateError
from culnig.inference import templates
from culnig.inference.encoding import Encoder
from culnig.inference.prompts import PromptWriter
from culnig.models.base import bind_model
from culnig.models.gated_decoder import GatedDecoder
from tests.inference.families import FAMILIES, Family
from tests.tiny_models import CHAT_TEMPLATE, byte_tokenizer, tiny_items, tiny_model

ITEM = replace(
    tiny_items(1)[0],
    prompt="What is 'bread' & <salt>\n  in Spain?\n",
    system="Answer with {one} letter.",
    answer_prefix="So: ",
)
BARE = replace(ITEM, system=None)


def family_tokenizer(family: Family):
    """A tokenizer of single bytes, with the family's begin token and habits."""
    from tokenizers.processors import TemplateProcessing

    tokenizer = byte_tokenizer(family.template)
    if family.bos is not None:
        tokenizer.add_special_tokens({"bos_token": family.bos})
    begin = f"{family.bos} " if family.tokenizer_writes_bos else ""
    end = " <end>" if family.tokenizer_writes_eos else ""
    ids = [(name, tokenizer.convert_tokens_to_ids(name)) for name in (family.bos, "<end>") if name]
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{begin}$A{end}", special_tokens=ids
    )
    return tokenizer


def encoder_of(tokenizer, **options):
    return Encoder(bind_model("family", tiny_model().model, tokenizer, [GatedDecoder()]), **options)


def written(template, item=ITEM, **options):
    return PromptWriter(byte_tokenizer(template), **options).write(item)


def test_there_are_templates_of_at_least_thirty_families():
    assert len(FAMILIES) >= 30


@pytest.mark.parametrize("item", [ITEM, BARE], ids=["system", "bare"])
@pytest.mark.parametrize("name", FAMILIES)
def test_the_prompts_of_a_family(name, item):
    family = FAMILIES[name]
    tokenizer = family_tokenizer(family)
    ids = encoder_of(tokenizer).prompt_ids(item)
    text = tokenizer.decode(ids)
    assert item.prompt.strip() in text
    assert item.system is None or text.index(item.system) < text.index(item.prompt.strip())
    assert text.endswith(family.end + item.answer_prefix)
    assert not text.endswith(item.answer_prefix * 2)
    assert tokenizer.eos_token_id not in ids
    if family.bos == "<|im_start|>":  # SmolVLM's begin token also begins turns of other templates
        assert text.startswith("<|im_start|>")
        assert not text.startswith("<|im_start|>" * 2)
    elif family.bos is not None and (family.tokenizer_writes_bos or "bos_token" in family.template):
        assert ids[0] == tokenizer.bos_token_id
        assert ids.count(tokenizer.bos_token_id) == 1


@pytest.mark.parametrize("name", FAMILIES)
def test_only_families_that_write_the_date_are_dated(name):
    encoder = encoder_of(family_tokenizer(FAMILIES[name]), prompt_date="2025-03-09")
    record = encoder.record([encoder.encode(BARE)])
    assert record["date"] == ("2025-03-09" if FAMILIES[name].dated else None)
    shown = ("09 Mar 2025", "2025-03-09", "09 March 2025", "March 09, 2025")
    assert any(day in record["examples"][0] for day in shown) is FAMILIES[name].dated


@pytest.mark.parametrize("template", [None, CHAT_TEMPLATE], ids=["plain", "template"])
def test_a_begin_token_stands_once_whoever_writes_it(template):
    def ids(tokenizer_writes: bool, start: str):
        family = Family("", "", "<s>", tokenizer_writes_bos=tokenizer_writes)
        tokenizer = family_tokenizer(family)
        tokenizer.chat_template = None if template is None else start + template
        item = replace(
            BARE, prompt=(start.replace("{{ bos_token }}", "<s>") if template is None else "") + "Hm?"
        )
        return encoder_of(tokenizer).prompt_ids(item), tokenizer.bos_token_id

    for tokenizer_writes, start in [
        (True, ""), (True, "{{ bos_token }}"), (True, "{{ bos_token }}{{ bos_token }}"),
        (False, "{{ bos_token }}"), (False, "{{ bos_token }}{{ bos_token }}"), (True, "\n {{ bos_token }}"),
    ]:  # fmt: skip
        found, begin = ids(tokenizer_writes, start)
        assert found.count(begin) == 1, (tokenizer_writes, start)
        assert found[0] == begin or start.startswith("\n")
    found, begin = ids(False, "")
    assert begin not in found


def test_two_begin_tokens_of_a_tokenizer_stand_once_each():
    """GLM-4's tokenizer and template both write [gMASK]<sop>."""
    from tokenizers.processors import TemplateProcessing

    for start in ("", "[gMASK]<sop>"):
        tokenizer = byte_tokenizer(start + CHAT_TEMPLATE)
        tokenizer.add_special_tokens({"additional_special_tokens": ["[gMASK]", "<sop>"]})
        ids = [(name, tokenizer.convert_tokens_to_ids(name)) for name in ("[gMASK]", "<sop>")]
        tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
            single="[gMASK] <sop> $A", special_tokens=ids
        )
        found = encoder_of(tokenizer).prompt_ids(BARE)
        assert found[:2] == [token for _, token in ids]
        assert not {token for _, token in ids} & set(found[2:])


@pytest.mark.parametrize("template", [None, CHAT_TEMPLATE], ids=["plain", "template"])
def test_a_tokenizer_that_appends_its_end_token_loses_it(template):
    tokenizer = family_tokenizer(Family("", "", "<s>", tokenizer_writes_bos=True, tokenizer_writes_eos=True))
    tokenizer.chat_template = template
    assert tokenizer("x")["input_ids"][-1] == tokenizer.eos_token_id
    encoded = encoder_of(tokenizer).encode(replace(ITEM, answer_prefix='"'))
    assert tokenizer.eos_token_id not in encoded.token_ids
    assert tokenizer.decode(list(encoded.option_ids)) == "ABCD"


LOOP = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}" + CHAT_TEMPLATE
NEEDS_TOOLS = "{% for tool in tools %}{{ tool['function']['name'] }}{% endfor %}" + CHAT_TEMPLATE
HIDES_WITHOUT_TOOLS = "{% if tools %}" + CHAT_TEMPLATE + "{% endif %}"
SECOND_PART = "{% for message in messages %}{{ message['content'][1]['text'] }}{% endfor %}"
CONTENT = "message['content']"

REFUSED = {
    "needs tools": (NEEDS_TOOLS, "writes a prompt only for a model that is given tools"),
    "hides without tools": (HIDES_WITHOUT_TOOLS, "only for a model that is given tools"),
    "indexes a second part": (SECOND_PART, "one question .UndefinedError: list object has no element 1"),
    "no default": ({"rag": CHAT_TEMPLATE, "tool_use": CHAT_TEMPLATE}, r"one of several \(rag, tool_use\)"),
    "raises": ("{{ raise_exception('ask the vendor') }}", "one question .TemplateError: ask the vendor"),
    "broken": ("{% for message in %}", "is not valid Jinja .line 1: "),
    "no content": ("Hello<|assistant|>", "leaves out the question, whether .* text or as a list"),
    "truncates": (CHAT_TEMPLATE.replace(CONTENT, CONTENT + "[:25]"), "changes the question of item item-0"),
    "truncates to a few letters": (
        CHAT_TEMPLATE.replace(CONTENT, CONTENT + "[:5]"),
        "leaves out the question, whether",
    ),
    "writes JSON": ("{{ messages[-1]['content'] | tojson }}", "changes the question of item item-0"),
    "writes only lists": (
        "{% if messages[-1]['content'] is not string %}{{ messages[-1]['content'] | tojson | e }}{% endif %}",
        "leaves out the question, whether",
    ),
    "escapes": (CHAT_TEMPLATE.replace(CONTENT, CONTENT + " | tojson"), "changes the question of item item-0"),
    "strips": (
        CHAT_TEMPLATE.replace(CONTENT, CONTENT + ".replace('&', '')"),
        "changes the question of item item-0, which begins .What is 'bread'",
    ),
    "raises for an item": (
        "{% if '&' in messages[-1]['content'] %}{{ 1 + 'a' }}{% endif %}" + CHAT_TEMPLATE,
        "cannot write the prompt of item item-0 .TypeError",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_a_template_that_cannot_be_used_is_refused_by_name(kind):
    template, message = REFUSED[kind]
    with pytest.raises(TemplateError, match=message) as raised:
        written(template, BARE)
    assert str(raised.value).startswith("the chat template of this model ")
    assert "set `tokenizer.chat_template`" in str(raised.value)


def test_system_text_that_a_template_changes_is_refused():
    template = CHAT_TEMPLATE.replace(
        "{% for message", "{% for message in messages if 0 %}{% endfor %}{% for message"
    )
    changed = template.replace(CONTENT, CONTENT + ".replace('{', '(')")
    with pytest.raises(
        TemplateError, match="changes the system text of item item-0, which begins 'Answer with"
    ):
        written(changed)


def test_system_text_written_as_a_list_heads_the_user_turn():
    """The template reads the parts of the user's turn, but writes the system turn's content as it is."""
    template = (
        "{% for message in messages %}{% if message['role'] == 'system' %}{{ message['content'] }}{% else %}"
        "{% for part in message['content'] %}{{ part['text'] }}{% endfor %}{% endif %}{% endfor %}|"
    )
    assert written(template) == f"{ITEM.system}\n\n{ITEM.prompt}|So: "


def test_an_endless_template_is_stopped(monkeypatch):
    monkeypatch.setattr(templates, "RENDER_SECONDS", 0.3)
    began = time.monotonic()
    with pytest.raises(TemplateError, match=r"still writing after 0.3 s, so it may never end"):
        written(LOOP)
    assert time.monotonic() - began < 10


def test_an_endless_template_is_stopped_off_the_main_thread(monkeypatch):
    monkeypatch.setattr(templates, "RENDER_SECONDS", 0.3)
    errors = []

    def write():
        try:
            written(LOOP)
        except TemplateError as error:
            errors.append(error)

    thread = threading.Thread(target=write)
    thread.start()
    thread.join(20)
    assert len(errors) == 1


def test_of_several_templates_the_default_is_used():
    several = {"default": CHAT_TEMPLATE, "tool_use": "{{ raise_exception('no') }}"}
    assert written(several) == written(CHAT_TEMPLATE)
    digests = [PromptWriter(byte_tokenizer(chosen)).template_hash for chosen in (several, CHAT_TEMPLATE)]
    assert digests[0] == digests[1]


@pytest.mark.parametrize("tag", ["<thinking>", "[THINK]", "<|think|>", "◁think▷"])
def test_a_thought_that_is_begun_with_words_is_closed(tag):
    closing = {"[THINK]": "[/THINK]", "<thinking>": "</thinking>", "<|think|>": "<|/think|>"}
    begun = CHAT_TEMPLATE.replace("<|assistant|>", "<|assistant|>" + tag + "\nOkay, ")
    assert written(begun).endswith(f"{tag}\nOkay,\n\n{closing.get(tag, '◁/think▷')}\n\nSo: ")


def test_tags_in_a_question_are_no_thoughts_of_the_template():
    item = replace(BARE, prompt="What does <think> mean?")
    assert written(CHAT_TEMPLATE, item) == "<|user|>What does <think> mean?\n<|assistant|>So: "


def test_all_prompts_show_the_date_that_was_given():
    dated = "{{ strftime_now('%A, %d %B %Y %H:%M') }}" + CHAT_TEMPLATE
    assert written(dated, prompt_date="2025-03-09").startswith("Sunday, 09 March 2025 00:00<|system|>")
    assert written(dated, prompt_date=date(2024, 2, 29)).startswith("Thursday, 29 February 2024 00:00")


def test_the_date_of_prompts_stays_over_midnight(monkeypatch):
    class Calendar(date):
        now = date(2025, 12, 31)

        @classmethod
        def today(cls):
            return cls.now

    monkeypatch.setattr(templates, "date", Calendar)
    writer = PromptWriter(byte_tokenizer("{{ strftime_now('%Y-%m-%d') }}" + CHAT_TEMPLATE))
    Calendar.now = date(2026, 1, 1)
    assert writer.write(BARE).startswith("2025-12-31")


@pytest.mark.parametrize("day", ["yesterday", "2025-02-30", "2025-2-3", "20250203", ""])
def test_a_date_that_is_none_is_refused(day):
    with pytest.raises(InputError, match=r"prompt_date is .*give a date of the calendar as YYYY-MM-DD"):
        templates.chosen_date(day)


def test_the_clock_of_transformers_is_left_as_it_was():
    from transformers.utils import chat_template_utils

    before = chat_template_utils.datetime
    written("{{ strftime_now('%Y') }}" + CHAT_TEMPLATE, prompt_date="1999-01-01")
    with pytest.raises(TemplateError):
        written("{{ raise_exception('no') }}")
    assert chat_template_utils.datetime is before
