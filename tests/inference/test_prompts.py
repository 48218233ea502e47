"""Prompts under chat templates of every kind."""

from __future__ import annotations

from dataclasses import replace

import pytest

from culnig.inference.prompts import PromptWriter
from tests.tiny_models import CHAT_TEMPLATE, byte_tokenizer, tiny_items

REFUSES_SYSTEM = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
) + CHAT_TEMPLATE
DROPS_SYSTEM = CHAT_TEMPLATE.replace(
    "{% for message in messages %}", "{% for message in messages if message['role'] == 'user' %}"
)
SWITCH = CHAT_TEMPLATE + "{% if enable_thinking is defined and not enable_thinking %}<no-thought>{% endif %}"
OTHER_SWITCH = CHAT_TEMPLATE + "{% if thinking is defined and not thinking %}<no-thought>{% endif %}"
OPENS_THOUGHT = CHAT_TEMPLATE + "{% if add_generation_prompt %}<think>\n{% endif %}"

ITEM = replace(tiny_items(1)[0], prompt="Hm?", system="Be short.", answer_prefix="So: ")


def written(template, item=ITEM):
    return PromptWriter(byte_tokenizer(template)).write(item)


def test_a_system_role_is_used():
    assert written(CHAT_TEMPLATE) == "<|system|>Be short.\n<|user|>Hm?\n<|assistant|>So: "


@pytest.mark.parametrize("template", [REFUSES_SYSTEM, DROPS_SYSTEM], ids=["refuses", "drops"])
def test_without_a_system_role_its_text_heads_the_user_turn(template):
    assert written(template) == "<|user|>Be short.\n\nHm?\n<|assistant|>So: "


def test_an_item_without_system_text_is_a_user_turn_alone():
    assert written(REFUSES_SYSTEM, replace(ITEM, system=None)) == "<|user|>Hm?\n<|assistant|>So: "


def test_without_a_template_the_texts_follow_each_other():
    assert written(None) == "Be short.\n\nHm?\nSo: "


@pytest.mark.parametrize("template", [SWITCH, OTHER_SWITCH])
def test_thinking_is_switched_off(template):
    assert written(template).endswith("<|assistant|><no-thought>So: ")


def test_a_thought_that_the_template_opens_is_closed():
    assert written(OPENS_THOUGHT).endswith("<|assistant|><think>\n\n</think>\n\nSo: ")
