"""Sections of a report. Each has charts and tables, or the command that would produce its data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

from culnig.reporting.tables import Table


@dataclass(frozen=True)
class Panel:
    """A chart with its table."""

    title: str
    chart: Markup | None = None
    note: str = ""
    table: Table | None = None
    open_table: bool = False
    """Whether the table is visible from the start."""
    legend: Sequence[tuple[str, str]] = ()
    """Pairs of class and text, one for each kind of mark in the chart."""


@dataclass(frozen=True)
class Section:
    """A section of the report."""

    key: str
    """Its anchor in the page."""
    title: str
    lead: str
    """What it shows and how to read it."""
    panels: Sequence[Panel] = field(default_factory=tuple)
    missing: str = ""
    """The command that produces its data, shown if there is none."""

    @property
    def filled(self) -> bool:
        """Whether the section has data."""
        return bool(self.panels)


def slug(*words: str) -> str:
    """A file name made of words."""
    text = "-".join(words).lower()
    kept = "".join(character if character.isalnum() else "-" for character in text)
    return "-".join(part for part in kept.split("-") if part)
