"""The text that a model reads: chat template, system turn, answer prefix.

Templates differ in what they allow. A template without a system role, whether it refuses the turn or silently
drops it, gets the system text at the head of the user turn. Thinking is switched off where the template
knows a switch, and a thinking block that the template opens anyway is closed, so the next token is the
answer.
"""

from __future__ import annotations

from typing import Any

from culnig.core.items import Item

_THOUGHT_BEGINS = "<think>"
_THOUGHT_ENDS = "\n\n</think>\n\n"
_PROBE = "culnig-system-probe"


class PromptWriter:
    """Writes the prompts of one tokenizer."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._system_role: bool | None = None

    @property
    def has_template(self) -> bool:
        """Whether there is a chat template; it writes its own special tokens then."""
        return self._tokenizer.chat_template is not None

    @property
    def has_system_role(self) -> bool:
        """Whether the chat template shows a system turn to the model."""
        if self._system_role is None:
            try:
                shown = self._apply([{"role": "system", "content": _PROBE}, {"role": "user", "content": "?"}])
            except Exception:  # templates refuse a role with whatever their author raised
                shown = ""
            self._system_role = _PROBE in shown
        return self._system_role

    def write(self, item: Item) -> str:
        """The item's prompt up to and including the answer prefix."""
        if not self.has_template:
            texts = [item.prompt] if item.system is None else [item.system, item.prompt]
            return "\n\n".join(texts) + "\n" + item.answer_prefix
        turns = [{"role": "user", "content": item.prompt}]
        if item.system is not None:
            if self.has_system_role:
                turns.insert(0, {"role": "system", "content": item.system})
            else:
                turns[0]["content"] = f"{item.system}\n\n{item.prompt}"
        return self._apply(turns) + item.answer_prefix

    def _apply(self, turns: list[dict[str, str]]) -> str:
        rendered = str(
            self._tokenizer.apply_chat_template(
                turns, tokenize=False, add_generation_prompt=True, enable_thinking=False, thinking=False
            )
        )
        if rendered.rstrip().endswith(_THOUGHT_BEGINS):
            return rendered.rstrip() + _THOUGHT_ENDS
        return rendered
