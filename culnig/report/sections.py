"""The parts of a report, each with drawings and tables, or with the command that would fill it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

from culnig.report.tables import Table


@dataclass(frozen=True)
class Panel:
    """A drawing with its table."""

    title: str
    drawing: Markup | None = None
    note: str = ""
    table: Table | None = None
    open_table: bool = False
    """Whether the table is shown at once."""
    legend: Sequence[tuple[str, str]] = ()
    """(class, text) of the kinds of marks in the drawing."""


@dataclass(frozen=True)
class Section:
    """A part of the report."""

    key: str
    """Its anchor."""
    title: str
    lead: str
    """What it shows and how to read it."""
    panels: Sequence[Panel] = field(default_factory=tuple)
    missing: str = ""
    """The command that would make its data, where there is none."""

    @property
    def filled(self) -> bool:
        """Whether it has data."""
        return bool(self.panels)


def slug(*words: str) -> str:
    """A file name from words."""
    text = "-".join(words).lower()
    kept = "".join(character if character.isalnum() else "-" for character in text)
    return "-".join(part for part in kept.split("-") if part)
