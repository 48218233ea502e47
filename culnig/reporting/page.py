"""A report as one self-contained HTML file that needs no server and no network.

All text of the data passes through jinja's autoescape, or through a JSON block for the page's script. The
block escapes `<`, `>` and `&`, so that no question or name can end it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup

from culnig import __version__
from culnig.core.text import harmless_json, visible
from culnig.reporting.caveats import caveats
from culnig.reporting.headline import headline
from culnig.reporting.methods import data_table, methods_text, provenance_table, settings_table
from culnig.reporting.neuron_list import (
    Listed,
    Questions,
    add_drivers,
    add_scores,
    document,
    listed_of_profile,
    listed_of_set,
    table,
)
from culnig.reporting.next_steps import next_steps, with_names
from culnig.reporting.profiles import TOP_NEURONS, Profile, profile, short_names, target_roles
from culnig.reporting.published import Published
from culnig.reporting.sections.cultures import cultures_section, similarity_section
from culnig.reporting.sections.depth import depth_section
from culnig.reporting.sections.instances import instances_section
from culnig.reporting.sections.leaderboard import leaderboard_section
from culnig.reporting.sections.masking import masking_section
from culnig.reporting.sections.models import models_section
from culnig.reporting.sections.panels import Section, with_own_names
from culnig.reporting.sections.published import published_section
from culnig.reporting.sections.specificity import dose_section, matrix_section
from culnig.reporting.sections.training import training_section
from culnig.reporting.sections.where import where_section
from culnig.reporting.sources import Sources
from culnig.reporting.summary import findings
from culnig.reporting.tables import Table
from culnig.store.files import write_text
from culnig.store.run import Run

TEMPLATES = Path(__file__).parent / "templates"
LISTED = 100
"""Number of neurons listed of each set."""
ASKED_FOR = ("published", "models")
"""Sections that most reports have no inputs for: they are left out where they are empty."""
MOST_LISTED = 2000
"""Most neurons listed in total."""


class Report:
    """The contents of the page, computed once."""

    def __init__(
        self,
        sources: Sources,
        *,
        title: str | None = None,
        listed: int = LISTED,
        published: Published | None = None,
    ) -> None:
        """`listed` is the number of neurons listed of each set, at most MOST_LISTED over all sets.

        `published` are numbers that are set beside those of the inputs.
        """
        self.sources = sources.distinct
        self._same_names = sources
        self._published = published
        self.title = title or "Culture neurons of " + (" and ".join(sources.model_names) or "a model")
        if sources.neuron_sets:
            listed = min(listed, max(1, MOST_LISTED // len(sources.neuron_sets)))
        self._most = listed
        self.questions = Questions()
        self.listed: list[Listed] = []
        self.profiles: list[Profile] = []
        self._names: dict[int, str] = {}
        self._gather()
        self.sections = with_own_names(self._sections())
        self.methods = methods_text(sources)
        self.about = [provenance_table(sources), settings_table(sources), data_table(sources)]

    @property
    def tables(self) -> list[Table]:
        """All tables of the report; their names are unique."""
        shown = [panel.table for section in self.sections for panel in section.panels if panel.table]
        basis = "; ".join(profile.basis for profile in self.profiles)
        neurons = [table(self.listed, self.questions, basis)] if self.listed else []
        return [*shown, *neurons, *self.about]

    def html(self) -> str:
        """The page."""
        environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(TEMPLATES),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            finalize=_shown,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        return environment.get_template("page.html").render(
            report=self,
            headline=headline(self.sources),
            steps=next_steps(self.sources, self.sections),
            findings=findings(self.sources),
            caveats=caveats(self.sources),
            drivers_step=self._drivers_step(),
            version=__version__,
            style=Markup((TEMPLATES / "style.css").read_text(encoding="utf-8")),
            script=Markup((TEMPLATES / "behaviour.js").read_text(encoding="utf-8")),
            neurons=json_block(document(self.listed, self.questions)),
            files=json_block(
                {each.name: {"csv": each.csv(), "tex": each.latex()} for each in self.tables if each.rows}
            ),
        )

    def write(self, path: Path) -> None:
        """Write the page; an interrupted write leaves no file."""
        page = self.html()
        write_text(path, page)

    def write_tables(self, folder: Path) -> None:
        """Write every table as CSV and LaTeX."""
        for each in self.tables:
            for suffix, text in (("csv", each.csv()), ("tex", each.latex())):
                write_text(folder / f"{each.name}.{suffix}", text)

    def _drivers_step(self) -> str:
        """The command that stores what raises neurons; empty if the inputs say it, or list no neuron."""
        if not self.listed or any(each.drivers for each in self.listed):
            return ""
        command = "culnig-engine score --model MODEL --benchmark BENCHMARK --level item -o RUN"
        return with_names(command, self.sources)

    def _gather(self) -> None:
        """Read each run once, and list neurons."""
        by_set = [(neurons, listed_of_set(neurons, self._most)) for neurons in self.sources.neuron_sets]
        for run in self.sources.runs:
            of_run = [
                each for neurons, listed in by_set if self.sources.run_of(neurons) is run for each in listed
            ]
            self._add_run(run, of_run)
        for _, listed in by_set:
            self.listed += listed

    def _add_run(self, run: Run, of_sets: Sequence[Listed]) -> None:
        """Add the profiles of a run, and fill in the listed neurons of its sets from the first target."""
        flat = np.array([run.layout.flat(each.neuron) for each in of_sets], dtype=np.int64)
        n_best = TOP_NEURONS if of_sets else max(TOP_NEURONS, self._most)
        for number, roles in enumerate(target_roles(run)):
            of_target = profile(run, roles, flat, n_best)
            self.profiles.append(of_target)
            self._names |= short_names(run, of_target.best)
            listed = list(of_sets)
            if not self.sources.neuron_sets:
                listed = listed_of_profile(run, of_target, self._most)
                self.listed += listed
            if number == 0 or not of_sets:
                add_scores(listed, run, of_target)
                add_drivers(listed, run, of_target.target, self.questions)

    def _sections(self) -> list[Section]:
        sources = self.sources
        sections = [
            published_section(sources, self._published),
            where_section(sources),
            models_section(self._same_names),
            depth_section(self.profiles),
            cultures_section(self.profiles, self._names),
            similarity_section(self.profiles, sources.neuron_sets),
            masking_section(sources.evaluations),
            matrix_section(sources.evaluations),
            dose_section(sources.evaluations),
            instances_section(sources.instances),
            training_section(sources.arms),
            leaderboard_section(sources.validations),
        ]
        return [section for section in sections if section.filled or section.key not in ASKED_FOR]


def _shown(value: Any) -> Any:
    """A value of the page; text of the data without control characters."""
    return visible(value, lines=True) if type(value) is str else value


def json_block(value: Any) -> Markup:
    """JSON text that is safe inside a script element."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(harmless_json(text))
