"""The text that a model reads: chat template, system turn, answer prefix.

Templates differ in what they allow. Some read a turn's content as text, others as a list of parts; which form
shows the question is found out once. A template without a system role, whether it refuses the turn or
silently drops it, gets the system text at the head of the user turn. Thinking is switched off where the
template knows a switch, and a thinking block that the template opens anyway is closed, so the next token is
the answer. Every prompt is checked: it contains its question and system text, or TemplateError names the
item.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import Any

from culnig.core.items import Item
from culnig.errors import InputError, TemplateError
from culnig.inference.templates import ChatTemplate, chosen_date, closed, shows, template_error

_PROBE = "culnig-system-probe"
_QUESTION = "culnig-question-probe"
_TWO_DAYS = (date(2001, 2, 3), date(2019, 10, 28))
"""They differ in year, month, day and weekday."""


@dataclass(frozen=True)
class _Shape:
    """What a template does with prompts that have a system text, or with those that have none."""

    head: str
    """What it writes before an answer."""
    is_dated: bool
    """Whether it writes the date."""


class PromptWriter:
    """Writes the prompts of one tokenizer, all with one date."""

    def __init__(self, tokenizer: Any, prompt_date: date | str | None = None) -> None:
        """`prompt_date` is the date for templates that write it, by default today."""
        self._tokenizer = tokenizer
        self.date = chosen_date(prompt_date)
        self._shapes: dict[bool, _Shape] = {}

    @property
    def has_template(self) -> bool:
        """Whether there is a chat template."""
        return self._tokenizer.chat_template is not None

    @cached_property
    def _template(self) -> ChatTemplate:
        return ChatTemplate(self._tokenizer)

    @property
    def template_hash(self) -> str | None:
        """SHA-256 of the chat template; None without one."""
        return self._template.hash if self.has_template else None

    @cached_property
    def _in_parts(self) -> bool:
        """Whether the template reads content as a list of parts; TemplateError if it shows none."""
        errors: list[Exception] = []
        forms = [_turns(None, _QUESTION, in_parts) for in_parts in (False, True)]
        for in_parts, turns in enumerate(forms):
            try:
                if shows(self._template.render(turns, self.date), _QUESTION):
                    return bool(in_parts)
            except TemplateError:
                raise
            except Exception as error:  # templates raise whatever their author chose
                errors.append(error)
        raise self._template.problem(forms, self.date, _QUESTION, errors)

    @cached_property
    def has_system_role(self) -> bool:
        """Whether the chat template shows a system turn to the model."""
        turns = _turns(_PROBE, _QUESTION, self._in_parts)
        try:
            shown = self._template.render(turns, self.date)
        except TemplateError:
            raise
        except Exception:  # templates refuse a role with whatever their author raised
            return False
        return shows(shown, _PROBE) and shows(shown, _QUESTION)

    def is_dated(self, item: Item) -> bool:
        """Whether the item's prompt depends on the date."""
        return self.has_template and self._shape(item).is_dated

    def write(self, item: Item) -> str:
        """The item's prompt up to and including the answer prefix, or up to its options that are texts.

        TemplateError if the template cannot write it, or leaves out or changes the question or system text;
        InputError if these hold a control token of the model.
        """
        texts = [item.prompt] if item.system is None else [item.system, item.prompt]
        self._refuse_control_tokens(
            item, [*texts, item.answer_prefix, *(item.options if item.likelihood else ())]
        )
        if not self.has_template:
            return "\n\n".join(texts) + ("" if item.likelihood else "\n") + item.answer_prefix
        try:
            rendered = self._template.render(self._turns(item), self.date)
        except TemplateError:
            raise
        except Exception as error:
            raise template_error(
                f"cannot write the prompt of item {item.id} ({type(error).__name__}: {error})"
            ) from None
        shown = "".join(rendered.split())
        for name, text in (("system text", item.system or ""), ("question", item.prompt)):
            if "".join(text.split()) not in shown:
                raise template_error(
                    f"leaves out or changes the {name} of item {item.id}, which begins {text.strip()[:60]!r}"
                )
        head = self._shape(item).head
        answering = closed(rendered, head, channels=self._template.writes_channels)
        return answering if item.likelihood else answering + item.answer_prefix

    def _refuse_control_tokens(self, item: Item, texts: Sequence[str]) -> None:
        for text in texts:
            tokens = self._control_tokens.findall(text) if self._control_tokens else []
            # without a template the item itself may begin with begin tokens
            allowed = () if self.has_template else (self._tokenizer.bos_token,)
            if wrong := [token for token in tokens if token not in allowed]:
                raise InputError(
                    f"item {item.id} contains {wrong[0]!r}, which this model reads as a control token and "
                    "not as text, so its prompt would be another; write the item without it"
                )

    @cached_property
    def _control_tokens(self) -> re.Pattern[str] | None:
        """Matches the special tokens of the tokenizer; None if it has none. Plain words do not count."""
        added = self._tokenizer.added_tokens_decoder.values()
        names = {*self._tokenizer.all_special_tokens, *(token.content for token in added if token.special)}
        written = sorted(name for name in names if name.strip() and not name.strip().isalnum())
        return re.compile("|".join(map(re.escape, written))) if written else None

    def _turns(self, item: Item) -> list[dict[str, Any]]:
        if item.system is None or self.has_system_role:
            return _turns(item.system, item.prompt, self._in_parts)
        return _turns(None, f"{item.system}\n\n{item.prompt}", self._in_parts)

    def _shape(self, item: Item) -> _Shape:
        has_turn = item.system is not None and self.has_system_role
        if has_turn not in self._shapes:
            turns = _turns(_PROBE if has_turn else None, _QUESTION, self._in_parts)
            first, second = (self._template.render(turns, day) for day in _TWO_DAYS)
            self._shapes[has_turn] = _Shape(self._head(turns, first), first != second)
        return self._shapes[has_turn]

    def _head(self, turns: Sequence[dict[str, Any]], rendered: str) -> str:
        """What the template adds to the turns for the answer, as far as it tells them apart."""
        try:
            before = self._template.render(turns, _TWO_DAYS[0], answering=False)
        except TemplateError:
            raise
        except Exception:  # some templates refuse turns that nobody answers
            return ""
        return rendered[len(before) :] if rendered.startswith(before) else ""


def _turns(system: str | None, prompt: str, in_parts: bool) -> list[dict[str, Any]]:
    def content(text: str) -> Any:
        return [{"type": "text", "text": text}] if in_parts else text

    turns = [] if system is None else [{"role": "system", "content": content(system)}]
    return [*turns, {"role": "user", "content": content(prompt)}]
