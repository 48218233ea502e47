"""Render chat templates, which are untrusted programs, and name what is wrong with one.

transformers runs a template in a sandbox that bounds neither its time nor its clock. Here each rendering has
a time limit, and `strftime_now` tells a date that the caller chooses.
"""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Iterator, Sequence
from datetime import date, datetime, time
from hashlib import sha256
from typing import Any

from culnig.core.bounded import bounded
from culnig.errors import EnvironmentProblem, InputError, TemplateError, argument

RENDER_SECONDS = 10.0
"""Time limit of one rendering; real templates take milliseconds."""

Turns = Sequence[dict[str, Any]]

_TOOL = {
    "type": "function",
    "function": {
        "name": "probe",
        "description": "Nothing.",
        "parameters": {"type": "object", "properties": {}, "required": []},
    },
}
_ADVICE = (
    "change the template in the model's folder (chat_template.jinja), or set `tokenizer.chat_template` of a "
    "loaded model: another template, or None for prompts without one"
)


def template_error(problem: str) -> TemplateError:
    """The error for a chat template, with advice."""
    return TemplateError(f"the chat template of this model {problem}; {_ADVICE}")


def chosen_date(prompt_date: date | str | None) -> date:
    """The date that prompts show: as given (YYYY-MM-DD), by default today. InputError if it is no date."""
    if prompt_date is None:
        return date.today()
    if isinstance(prompt_date, datetime):
        return prompt_date.date()
    if isinstance(prompt_date, date):
        return prompt_date
    try:
        if re.fullmatch(r"\d{4}-\d\d-\d\d", prompt_date, re.ASCII):
            return date.fromisoformat(prompt_date)
    except ValueError:
        pass
    raise InputError(
        f"{argument('prompt_date')} is {prompt_date!r}; give a date of the calendar as YYYY-MM-DD, such as "
        "2026-01-31"
    )


class ChatTemplate:
    """The chat template of one tokenizer."""

    def __init__(self, tokenizer: Any) -> None:
        """TemplateError if there are several templates and none is the default."""
        self._tokenizer = tokenizer
        templates = tokenizer.chat_template
        if isinstance(templates, dict) and "default" not in templates:
            raise template_error(
                f"is one of several ({', '.join(sorted(map(str, templates)))}), and none is named `default`"
            )
        self._text = str(templates["default"] if isinstance(templates, dict) else templates)
        self.hash = sha256(self._text.encode()).hexdigest()

    def render(
        self, turns: Turns, day: date, *, tools: Sequence[Any] | None = None, answering: bool = True
    ) -> str:
        """The turns as text on a day, with the head of the model's answer unless `answering` is off.

        Thinking is switched off where the template has a switch.

        TemplateError if the template is broken or endless. Other errors are those the template raises.
        """
        import jinja2

        def apply() -> str:
            return str(
                self._tokenizer.apply_chat_template(
                    list(turns),
                    tools=tools,
                    tokenize=False,
                    add_generation_prompt=answering,
                    enable_thinking=False,
                    thinking=False,
                )
            )

        try:
            with _clock_at(day):
                return bounded(apply, RENDER_SECONDS)
        except jinja2.TemplateSyntaxError as error:
            raise template_error(f"is not valid Jinja (line {error.lineno}: {error.message})") from None
        except TimeoutError:
            raise template_error(
                f"was still writing after {RENDER_SECONDS:g} s, so it may never end"
            ) from None
        except ImportError as error:
            raise EnvironmentProblem(f"chat templates cannot be rendered: {error}") from None

    def problem(
        self, forms: Sequence[Turns], day: date, shown: str, errors: Sequence[Exception]
    ) -> TemplateError:
        """Why the template shows the text `shown` in none of the forms; `errors` are what it raised."""
        for turns in forms:
            with contextlib.suppress(Exception):
                if shows(self.render(turns, day, tools=[_TOOL]), shown):
                    return template_error("writes a prompt only for a model that is given tools")
        if errors:
            reasons = "; ".join(dict.fromkeys(_reason(error) for error in errors))
            return template_error(f"cannot write a prompt that is one question ({reasons})")
        return template_error(
            "leaves out the question, whether it is given as text or as a list with one part of text"
        )

    @property
    def writes_channels(self) -> bool:
        """Whether answers have channels, as those of gpt-oss (harmony) do."""
        return "<|start|>assistant" in self._text and "<|message|>" in self._text


def shows(rendered: str, probe: str) -> bool:
    """Whether a prompt shows a text, and not the Python or JSON object that a list with it is."""
    return probe in rendered and not re.search(
        "type.{1,24}text.{1,24}text.{1,24}" + probe, rendered, re.DOTALL
    )


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


_clock = threading.RLock()


@contextlib.contextmanager
def _clock_at(day: date) -> Iterator[None]:
    """Let the `strftime_now` of transformers tell a day, at midnight.

    Templates get no functions from the caller of `apply_chat_template`, so the clock is set where
    transformers reads it.
    """
    from transformers.utils import chat_template_utils

    module: Any = chat_template_utils

    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return datetime.combine(day, time(), tz)

    with _clock:
        real, module.datetime = module.datetime, Clock
        try:
            yield
        finally:
            module.datetime = real


_OPENING_TAG = re.compile(
    r"(?P<open><\|?|\[|◁)(?P<start>(?:start|begin)_(?:of_)?)?"
    r"(?P<name>(?!end_|no)(?:\w+:)?\w*(?:think|thought|reason|reflect|scratchpad)\w*)(?P<close>\|?>|\]|▷)",
    re.IGNORECASE,
)
_OPEN_CHANNEL = re.compile(r"<\|channel\|>(?!final)\w+(?:<\|message\|>)?\s*$")
_FINAL = "<|channel|>final<|message|>"


def closed(rendered: str, head: str, *, channels: bool = False) -> str:
    """The prompt with the thought closed that the template opens, so that the answer comes next.

    `head` is the text that the template writes before an answer. With `channels`, answers begin in the final
    channel.
    """
    tail = head if head and rendered.endswith(head) else rendered.rstrip()
    tags = [tag for tag in _OPENING_TAG.finditer(tail) if tail is head or tag.end() == len(tail)]
    if tags and (closing := _closing_tag(tags[-1])) not in tail[tags[-1].end() :]:
        return f"{rendered.rstrip()}\n\n{closing}\n\n"
    if not channels:
        return rendered
    if open_channel := _OPEN_CHANNEL.search(tail):
        message = "" if "<|message|>" in open_channel[0] else "<|message|>"
        return f"{rendered.rstrip()}{message}<|end|><|start|>assistant{_FINAL}"
    return rendered + _FINAL if rendered.endswith("<|start|>assistant") else rendered


def _closing_tag(tag: re.Match[str]) -> str:
    """`</think>` for `<think>`, `[/THINK]` for `[THINK]`, `<|END_THINKING|>` for `<|START_THINKING|>`."""
    if tag["start"] is None:
        return f"{tag['open']}/{tag['name']}{tag['close']}"
    word, _, suffix = tag["start"].partition("_")
    ending = "END" if word.isupper() else "end"
    return f"{tag['open']}{ending}_{suffix}{tag['name']}{tag['close']}"
