"""The call of a step: its function with its settings, the files it reads and the file it writes."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import culnig
from culnig.core.progress import Progress, Say
from culnig.core.text import file_names
from culnig.errors import MismatchError, OutputExistsError, StoreError
from culnig.store.files import make_folder, write_json
from culnig.store.output_folder import owned_file
from culnig.studies.keys import keywords_of
from culnig.studies.outside import Outside
from culnig.studies.steps import SETS, Source, Step

TABLES = "tables"
_SEVERAL = ("neuron_sets", "sets", "sources", "evaluations", "runs")
"""Arguments that take several files."""
_DOCUMENTS = ("audit", "compare", "neurons_compare")
"""Functions that return what the step writes as JSON."""


@dataclass(frozen=True)
class Call:
    """What the calls of a study share."""

    folder: Path
    outside: Outside
    steps: Mapping[str, Step]
    prompt_date: str
    progress: Progress
    say: Say


def outputs_of(step: Step) -> list[str]:
    """Files and folders that a step writes, from the study's folder."""
    return [step.output, TABLES] if step.settings.get("tables") else [step.output]


def paths_of(folder: Path, step: Step, source: Source) -> list[Path]:
    """The files of a source: a file or folder, or the neuron sets in a folder of several."""
    path = folder / step.output
    if step.function not in SETS:
        return [path]
    if source.culture is not None:
        return [path / f"{file_names([source.culture])[0]}.neurons.json"]
    return sorted(path.glob("*.neurons.json"))


def call_of(step: Step, call: Call, *, resume: bool) -> None:
    """Call the function of a step; an interrupted output is continued with `resume`, otherwise replaced."""
    function, known = getattr(culnig, step.function), keywords_of(step.function)
    out = call.folder / step.output
    arguments = {**call.outside.arguments(step), **_read(step, call)}
    if step.model is not None:
        arguments["model"], loading = call.outside.model(step.model)
        arguments |= loading
    if "prompt_date" in known:
        arguments.setdefault("prompt_date", call.prompt_date)
    for name, value in (("progress", call.progress), ("say", call.say)):
        if name in known:
            arguments[name] = value
    if step.function == "report":
        arguments["tables"] = call.folder / TABLES if step.settings["tables"] else None
    make_folder(out.parent)
    if step.function in _DOCUMENTS:
        evaluations = arguments.pop("evaluations", ()) if step.function == "compare" else ()
        document = function(*evaluations, **arguments)
        rows = {"rows": document} if isinstance(document, list) else document
        kind = f"culnig-{step.function.replace('_', '-')}"
        with owned_file(out, overwrite=True, inputs=()) as path:
            write_json(path, {"format": kind, **rows})
        return
    if resume and "resume" in known:
        with contextlib.suppress(MismatchError, OutputExistsError):
            function(**arguments, out=out, resume=True)
            return
        # it was killed before it had begun to replace an earlier output
    replaces = {"overwrite": True} if os.path.lexists(out) or step.function == "report" else {}
    function(**arguments, out=out, **replaces)


def _read(step: Step, call: Call) -> dict[str, Any]:
    """The arguments that are outputs of other steps."""
    arguments: dict[str, Any] = {}
    for name, sources in step.reads.items():
        paths = [
            path for source in sources for path in paths_of(call.folder, call.steps[source.step], source)
        ]
        if missing := [path for path in paths if not path.exists()]:
            raise StoreError(f"{missing[0]}: no such file; was this culture selected?")
        arguments[name] = paths if name in _SEVERAL else paths[0]
    return arguments
