"""A report as one HTML file: no server, no network, style and script inside.

Every text of the data passes jinja's autoescape or, where the script needs it, a JSON block in which `<`, `>`
and `&` are written as escapes, so that nothing in a question or a name can end the block.
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
from culnig.report.evaluation_sections import masking_section
from culnig.report.instances_section import instances_section
from culnig.report.methods import data_table, methods_text, provenance_table, settings_table
from culnig.report.neuron_list import (
    Listed,
    Questions,
    add_drivers,
    add_scores,
    document,
    listed_of_profile,
    listed_of_set,
    table,
)
from culnig.report.profiles import Profile, profile, target_roles
from culnig.report.score_sections import (
    TOP_NEURONS,
    cultures_section,
    depth_section,
    similarity_section,
    where_section,
)
from culnig.report.sections import Section
from culnig.report.sources import Sources
from culnig.report.specificity_sections import dose_section, matrix_section
from culnig.report.summary import caveats, findings
from culnig.report.tables import Table
from culnig.report.training_section import training_section
from culnig.store.files import whole_file
from culnig.store.run import Run

TEMPLATES = Path(__file__).parent / "templates"
LISTED = 100
"""Neurons of each set that are listed."""
MOST_LISTED = 2000
"""Neurons that are listed in all."""


class Report:
    """Everything that is shown, computed once."""

    def __init__(self, sources: Sources, *, title: str | None = None, listed: int = LISTED) -> None:
        """`listed`: neurons of each set that are listed, at most MOST_LISTED over all sets."""
        self.sources = sources
        self.title = title or "Culture neurons of " + (" and ".join(sources.models) or "a model")
        if sources.neuron_sets:
            listed = min(listed, max(1, MOST_LISTED // len(sources.neuron_sets)))
        self._most = listed
        self.questions = Questions()
        self.listed: list[Listed] = []
        self.profiles: list[Profile] = []
        self._names: dict[int, str] = {}
        self._gather()
        self.sections = self._sections()
        self.methods = methods_text(sources)
        self.about = [provenance_table(sources), settings_table(sources), data_table(sources)]

    @property
    def tables(self) -> list[Table]:
        """Every table of the report, names unique."""
        found = [panel.table for section in self.sections for panel in section.panels if panel.table]
        return [*found, *([table(self.listed, self.questions)] if self.listed else []), *self.about]

    def html(self) -> str:
        """The page."""
        environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(TEMPLATES),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        return environment.get_template("page.html").render(
            report=self,
            findings=findings(self.sources),
            caveats=caveats(self.sources),
            missing_drivers=bool(self.listed) and not any(each.drivers for each in self.listed),
            version=__version__,
            style=Markup((TEMPLATES / "style.css").read_text(encoding="utf-8")),
            script=Markup((TEMPLATES / "behaviour.js").read_text(encoding="utf-8")),
            neurons=json_block(document(self.listed, self.questions)),
            files=json_block(
                {one.name: {"csv": one.csv(), "tex": one.latex()} for one in self.tables if one.rows}
            ),
        )

    def write(self, path: Path) -> None:
        """Write the page, whole or not at all."""
        page = self.html()
        with whole_file(path) as temporary:
            temporary.write_text(page, encoding="utf-8")

    def write_tables(self, folder: Path) -> None:
        """Write every table as CSV and LaTeX."""
        for one in self.tables:
            for ending, text in (("csv", one.csv()), ("tex", one.latex())):
                with whole_file(folder / f"{one.name}.{ending}") as temporary:
                    temporary.write_text(text, encoding="utf-8")

    def _gather(self) -> None:
        """Walk over the runs once each, and list neurons."""
        by_set = {id(those): listed_of_set(those, self._most) for those in self.sources.neuron_sets}
        for run in self.sources.runs:
            own = [
                each
                for those in self.sources.neuron_sets
                if self.sources.run_of(those) is run
                for each in by_set[id(those)]
            ]
            self._of_run(run, own)
        for those in self.sources.neuron_sets:
            self.listed += by_set[id(those)]

    def _of_run(self, run: Run, own: Sequence[Listed]) -> None:
        flat = np.array([run.layout.flat(each.neuron) for each in own], dtype=np.int64)
        n_best = TOP_NEURONS if own else max(TOP_NEURONS, self._most)
        for number, roles in enumerate(target_roles(run)):
            found = profile(run, roles, flat, n_best)
            self.profiles.append(found)
            for place, neuron in zip(found.best, run.layout.neurons(found.best), strict=True):
                self._names[int(place)] = f"{neuron.module.rpartition('.')[2]} {neuron.layer}·{neuron.index}"
            mine = list(own)
            if not self.sources.neuron_sets:
                mine = listed_of_profile(run, found, self._most)
                self.listed += mine
            if number == 0 or not own:
                add_scores(mine, run, found)
                add_drivers(mine, run, found.target, self.questions)

    def _sections(self) -> list[Section]:
        sources = self.sources
        return [
            where_section(sources),
            depth_section(self.profiles),
            cultures_section(self.profiles, self._names),
            similarity_section(self.profiles, sources.neuron_sets),
            masking_section(sources.evaluations),
            matrix_section(sources.evaluations),
            dose_section(sources.evaluations),
            instances_section(sources.instances),
            training_section(sources.arms),
        ]


def json_block(value: Any) -> Markup:
    """JSON that is safe inside a script element."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)
