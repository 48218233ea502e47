"""What was not run: the commands that would fill the sections without data, with the names of the inputs."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from itertools import chain, count
from typing import NamedTuple

from culnig.reporting.sections.panels import Section
from culnig.reporting.sources import Sources


class Step(NamedTuple):
    """A section without data."""

    title: str
    command: str
    """Complete, except for names that no input gives; these are in capitals."""


def next_steps(sources: Sources, sections: Sequence[Section]) -> list[Step]:
    """The steps that are left, in the order of the sections."""
    return [
        Step(section.title, with_names(section.missing, sources))
        for section in sections
        if not section.filled
    ]


def with_names(command: str, sources: Sources) -> str:
    """A command with models, benchmarks and paths of the inputs in place of its capitals."""
    return " ".join(_words(command, sources))


def _words(command: str, sources: Sources) -> list[str]:
    words: list[str] = []
    benchmarks = _benchmarks(sources)
    sets = [sources.shown(path) for path in sources.set_paths]
    is_of_sets = command.split()[1:2] == ["evaluate"] or "instances" in command
    for word in command.split(" "):
        if word == "BENCHMARK" and benchmarks:
            of_work = benchmarks[:1] if is_of_sets else benchmarks
            words.append(shlex.quote(of_work[0]))
            words += [part for name in of_work[1:] for part in ("--benchmark", shlex.quote(name))]
        elif word == "MODEL" and sources.models:
            words.append(shlex.quote(sources.models[0]))
        elif word == "RUN" and words[-1:] != ["-o"] and sources.runs:
            words.append(shlex.quote(sources.shown(sources.runs[0].folder)))
        elif word in ("FILE", "A.json") and sets:
            words.append(shlex.quote(sets[0]))
        elif word == "B.json" and len(sets) > 1:
            words.append(shlex.quote(sets[1]))
        else:
            output = {"RUN": "run", "EVAL": "evaluation"}.get(word) if words[-1:] == ["-o"] else None
            words.append(_free(output, sources) if output else word)
    return words


def _free(name: str, sources: Sources) -> str:
    """The name of an output that no input has."""
    taken = {run.folder.name for run in sources.runs}
    taken |= {evaluation.folder.name for evaluation in sources.evaluations}
    numbered = (f"{name}-{n}" for n in count(2))
    return next(own for own in chain([name], numbered) if own not in taken)


def _benchmarks(sources: Sources) -> list[str]:
    """Benchmarks of the runs, targets first; without a run, those of the evaluations."""
    order = ("target", "control", "exclusion")
    scored = [stored for run in sources.runs for stored in run.benchmarks.values()]
    names = [stored.name for stored in sorted(scored, key=lambda stored: order.index(stored.role))]
    names += [name for evaluation in sources.evaluations for name in evaluation.benchmarks]
    return list(dict.fromkeys(names))
