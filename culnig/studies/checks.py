"""Checks of a study before anything runs: benchmarks, cultures, missing sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from culnig.benchmarks.base import ChosenItems
from culnig.cultures.spellings import culture_keys
from culnig.errors import CulnigError, DataFileError, EnvironmentProblem, did_you_mean
from culnig.selection.select import ALL
from culnig.studies.file import StudyFile
from culnig.studies.outside import Outside
from culnig.studies.steps import SETS, Source, Step


def check_study(file: StudyFile, steps: Sequence[Step], outside: Outside) -> None:
    """DataFileError, with its line, for an entry that its benchmarks do not fit.

    Missing data is not a mistake in the study: the steps that need it fail, and the others run.
    """
    by_name = {step.name: step for step in steps}
    for step in steps:
        items = _items(file, step, outside)
        if step.function in SETS:
            _check_selected(file, step, by_name, outside)
        for sources in step.reads.values():
            for source in sources:
                if source.culture is not None:
                    _check_culture(file, step, source, by_name, outside)
        if step.function == "evaluate":
            _check_names(file, step, by_name)
        if step.settings.get("matrix") and items:
            _check_matrix(file, step, by_name, items)


def _items(file: StudyFile, step: Step, outside: Outside) -> Mapping[str, ChosenItems]:
    try:
        return outside.items(step)
    except (DataFileError, EnvironmentProblem):
        return {}
    except CulnigError as error:
        raise file.problem(step.keys, error.args[0]) from None


def _cultures(items: Mapping[str, ChosenItems], role: str, name: object = None) -> list[str]:
    """Cultures of the benchmarks with a role, in order, or of the benchmark `name`."""
    read = [
        chosen
        for key, chosen in items.items()
        if (key == name if isinstance(name, str) else chosen.role == role)
    ]
    return list(dict.fromkeys(item.culture for chosen in read for item in chosen.items))


def _check_selected(file: StudyFile, step: Step, steps: Mapping[str, Step], outside: Outside) -> None:
    """The cultures of a selection must be in the target and the exclusion of its run."""
    named = [name for name in step.settings.get("cultures", ()) if name != ALL]
    (run,) = step.reads["run"]
    items = _items(file, steps[run.step], outside)
    if not named or not items:
        return
    for role in ("target", "exclusion"):
        known = _cultures(items, role, step.settings.get(role))
        unused = step.settings.get(role) is False or step.settings.get("exclude") == 0
        if role == "exclusion" and (unused or not known or step.function != "select_specific_sets"):
            continue
        for name in _keys(file, step, named):
            if name not in known:
                raise file.problem(
                    (*step.keys, "cultures"),
                    f"the {role} of {run.step} has no items of {name!r}{did_you_mean(name, known)}; it has "
                    f"{', '.join(known)}",
                )


def _check_culture(
    file: StudyFile, step: Step, source: Source, steps: Mapping[str, Step], outside: Outside
) -> None:
    """A set that is named by its culture must be among those that are selected."""
    selected = steps[source.step]
    named = [name for name in selected.settings.get("cultures", (ALL,)) if name != ALL]
    (run,) = selected.reads["run"]
    known = _keys(file, selected, named) or _cultures(_items(file, steps[run.step], outside), "target")
    if known and source.culture not in known:
        raise file.problem(
            step.keys,
            f"{source.step} has no set of {source.culture!r}{did_you_mean(str(source.culture), known)}; it "
            f"has sets of {', '.join(known)}",
        )


def _check_names(file: StudyFile, step: Step, steps: Mapping[str, Step]) -> None:
    """Sets of one evaluation need different names, which come from how they were selected."""
    owners: dict[tuple[object, ...], str] = {}
    for source in step.reads["neuron_sets"]:
        selected = steps[source.step]
        culture = selected.settings.get("culture")
        several = selected.settings.get("cultures", [culture])
        cultures = [source.culture] if source.culture else several
        for named in cultures:
            name = (selected.function, named, selected.settings.get("seed", 0), selected.reads.get("sets"))
            if (other := owners.setdefault(name, source.step)) != source.step:
                raise file.problem(
                    step.keys,
                    f"the sets of {other} and {source.step} have the same name, because they are selected by "
                    "the same method; evaluate them in two evaluations and compare these",
                )


def _check_matrix(
    file: StudyFile, step: Step, steps: Mapping[str, Step], items: Mapping[str, ChosenItems]
) -> None:
    """A matrix needs items of every culture whose neurons are masked."""
    present = {item.culture for choice in items.values() for item in choice.items}
    for source in step.reads["neuron_sets"]:
        selected = steps[source.step]
        named = [name for name in selected.settings.get("cultures", ()) if name != ALL]
        cultures = [source.culture] if source.culture else _keys(file, selected, named)
        for name in cultures:
            if name not in present:
                raise file.problem(
                    step.keys,
                    f"{source.step} has a set of {name!r}, but {', '.join(items)} has no items of it; its "
                    f"items are of {', '.join(sorted(present))}",
                )


def _keys(file: StudyFile, step: Step, names: Sequence[str]) -> tuple[str, ...]:
    try:
        return culture_keys(names)
    except CulnigError as error:
        raise file.problem((*step.keys, "cultures"), error.args[0]) from None
