"""Sections of a report. Each has charts and tables, or the command that would produce its data."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

from markupsafe import Markup

from culnig.core.text import file_name
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
    group: str = ""
    """What the panel belongs to, such as its evaluation; readers choose the group, then the panel in it."""
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
    """A file name made of words, which may hold anything; words that differ may give one name."""
    text = "-".join(words).lower()
    kept = "".join(character if character.isalnum() else "-" for character in text)
    return file_name("-".join(part for part in kept.split("-") if part))


def own_name(name: str, taken: Collection[str]) -> str:
    """The name, with a number if it is taken."""
    numbered = (f"{name}-{number}" for number in itertools.count(2))
    return name if name not in taken else next(each for each in numbered if each not in taken)


def with_own_names(sections: Sequence[Section]) -> list[Section]:
    """The sections with a name of its own for each table, which is also its file name."""
    taken: set[str] = set()

    def named(panel: Panel) -> Panel:
        if panel.table is None:
            return panel
        name = own_name(panel.table.name, taken)
        taken.add(name)
        return replace(panel, table=replace(panel.table, name=name))

    return [replace(section, panels=tuple(map(named, section.panels))) for section in sections]
