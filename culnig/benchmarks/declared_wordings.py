"""The wordings in a file that declares a benchmark, checked by pydantic."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import Field, model_validator

from culnig.benchmarks.wordings import PLACEHOLDER
from culnig.core.checked_documents import Strict

COUNTRY = "{country}"
"""Placeholder in questions, options and templates for the name of the row's culture in a sentence."""
_OF_OPTIONS = {"options", "labels"}
PARTS = {"question", *_OF_OPTIONS, "country"}
"""Placeholders that every declaration has."""

Text = Annotated[str, Field(min_length=1, pattern=r"^[^\x00]*$")]


class DeclaredWording(Strict):
    """One wording; `control` is the prompt without the question, by default the template without it."""

    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$")]
    template: Text
    labels: Literal["letters", "digits"] = "letters"
    option: Text = "{label}. {name}"
    system: str = ""
    control: Text | None = None

    @model_validator(mode="after")
    def _placeholders(self) -> DeclaredWording:
        if "question" not in PLACEHOLDER.findall(self.template):
            raise ValueError("template lacks the placeholder {question}")
        if set(PLACEHOLDER.findall(self.option)) != {"label", "name"}:
            raise ValueError("option must contain {label} and {name} and no other placeholder")
        return self

    def check_placeholders(self, placeholders: Iterable[str], *, by_likelihood: bool) -> None:
        """ValueError for a placeholder that is neither of every declaration nor among its own.

        Options are listed in every prompt, or with `likelihood` in none.
        """
        allowed = {*PARTS, *placeholders} - (_OF_OPTIONS if by_likelihood else set())
        texts = {"template": self.template, "control": self.control, "system": self.system}
        for name, text in texts.items():
            used = set(PLACEHOLDER.findall(text or ""))
            if by_likelihood and (listed := sorted(used & _OF_OPTIONS)):
                raise ValueError(
                    f"wording {self.id!r}: {name} has {{{listed[0]}}}, but with `answer_by: likelihood` "
                    "options are read as texts after the prompt and not listed; remove it"
                )
            if unknown := sorted(used - allowed):
                names = ", ".join(f"{{{part}}}" for part in sorted(allowed))
                raise ValueError(
                    f"wording {self.id!r}: {name} has the placeholder {{{unknown[0]}}}; allowed: {names}"
                )
            if not by_likelihood and name != "system" and text is not None and "options" not in used:
                raise ValueError(f"wording {self.id!r}: {name} lacks the placeholder {{options}}")
        if by_likelihood and (without := sorted({"labels", "option"} & self.model_fields_set)):
            raise ValueError(
                f"wording {self.id!r}: {without[0]} is for options that are listed, and with `answer_by: "
                "likelihood` none are; remove it"
            )

    @property
    def names_country(self) -> bool:
        """Whether a prompt of this wording names the culture."""
        return any(COUNTRY in text for text in (self.template, self.control or "", self.system))
