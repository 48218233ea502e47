"""The steps of a study: each is one call of a public function, with input files and one output.

A step is named after its output: `scores/MODEL/NAME`, `neurons/MODEL/NAME`, `evaluations/MODEL/NAME` and so
on, and finally `report`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from culnig.core.checked_documents import KeyPath
from culnig.errors import UnknownNameError
from culnig.studies.file import OnModels, StudyFile, sections

SETS = "select_specific_sets", "select_lape", "select_cape", "select_knowledge_neurons"
"""Functions whose output is a folder with one neuron set for each culture."""

_SELECTIONS = {
    "general": "select_general",
    "specific": "select_specific_sets",
    "random": "select_random",
    "lape": "select_lape",
    "cape": "select_cape",
    "crispr": "select_crispr",
    "ig": "select_ig",
    "knowledge-neurons": "select_knowledge_neurons",
    "union": "neurons_union",
    "intersect": "neurons_intersect",
    "minus": "neurons_minus",
}


@dataclass(frozen=True)
class Source:
    """What a step reads from another step's output."""

    step: str
    culture: str | None = None
    """Of a folder of neuron sets: the set of this culture; None for all of them."""


@dataclass(frozen=True)
class Step:
    """One call of a public function."""

    name: str
    function: str
    """Its name in `culnig`."""
    output: str
    """File or folder, from the study's folder."""
    keys: KeyPath
    """Where the study asks for it."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Arguments that the study gives."""
    model: str | None = None
    """Name of the model that is loaded."""
    reads: Mapping[str, tuple[Source, ...]] = field(default_factory=dict)
    """Arguments that are outputs of other steps."""

    @property
    def needs(self) -> list[str]:
        """The steps that come before it."""
        return list(dict.fromkeys(source.step for sources in self.reads.values() for source in sources))


def steps_of(file: StudyFile) -> list[Step]:
    """All steps in an order in which they can run; DataFileError for entries that do not fit each other."""
    maker = _Steps(file)
    steps = _in_order(file, [*maker.of_models()])
    steps += maker.comparisons()
    steps.append(_report(file, steps))
    _check_outputs(file, steps)
    return steps


def chosen_steps(steps: Sequence[Step], only: Sequence[str], start: str | None) -> list[Step]:
    """The steps that `only` names (`neurons/*` names several), or `start` and those that depend on it.

    UnknownNameError for a name that no step has.
    """
    if only:
        names = {name for pattern in only for name in _matching(steps, pattern)}
        steps = [step for step in steps if step.name in names]
    if start is not None:
        after = set(_matching(steps, start))
        for step in steps:
            if after & set(step.needs):
                after.add(step.name)
        steps = [step for step in steps if step.name in after]
    return list(steps)


def _matching(steps: Sequence[Step], pattern: str) -> list[str]:
    matching = [
        step.name
        for step in steps
        if fnmatchcase(step.name, pattern) or step.name.startswith(f"{pattern.rstrip('/')}/")
    ]
    if not matching:
        raise UnknownNameError("step", pattern, [step.name for step in steps])
    return matching


class _Steps:
    """Makes the steps of a study."""

    def __init__(self, file: StudyFile) -> None:
        self._file = file
        self._study = file.study

    def of_models(self) -> Iterator[Step]:
        """The steps of each model, section by section."""
        makers = {
            "scoring": self._scoring,
            "selections": self._selection,
            "evaluations": self._evaluation,
            "instances": self._instances,
            "audits": self._audit,
            "trainings": self._training,
        }
        everything = sections(self._study)
        for section, make in makers.items():
            for name, entry in everything[section].items():
                assert isinstance(entry, OnModels)
                for model in self._models((section, name), entry):
                    yield from make((section, name), model, name, entry)

    def comparisons(self) -> list[Step]:
        """The steps that compare what others made."""
        entries = sections(self._study)["comparisons"].items()
        return [self._comparison(("comparisons", name), name, entry) for name, entry in entries]

    def _models(self, keys: KeyPath, entry: OnModels) -> list[str]:
        for model in entry.models:
            if model not in self._study.models:
                raise self._file.unknown((*keys, "models"), "model", model, self._study.models)
        return list(dict.fromkeys(entry.models)) or list(self._study.models)

    def _scoring(self, keys: KeyPath, model: str, name: str, entry: Any) -> Iterator[Step]:
        path = f"scores/{model}/{name}"
        settings = {"benchmarks": entry.benchmarks, **entry.given}
        yield Step(path, "score", path, keys, settings, model)

    def _selection(self, keys: KeyPath, model: str, name: str, entry: Any) -> Iterator[Step]:
        path, function = f"neurons/{model}/{name}", _SELECTIONS[entry.method]
        output = path if function in SETS else f"{path}.neurons.json"
        reads: dict[str, tuple[Source, ...]] = {}
        if entry.method in ("union", "intersect", "minus"):
            reads["sets"] = tuple(self._set((*keys, "of"), model, reference) for reference in entry.of)
        else:
            reads["run"] = (self._run((*keys, "run"), model, entry.run),)
        if entry.method == "random":
            reads["like"] = (self._set((*keys, "like"), model, entry.like),)
        yield Step(path, function, output, keys, entry.given, None, reads)

    def _evaluation(self, keys: KeyPath, model: str, name: str, entry: Any) -> Iterator[Step]:
        path = f"evaluations/{model}/{name}"
        names = [entry.neuron_sets] if isinstance(entry.neuron_sets, str) else entry.neuron_sets
        reads = {
            "neuron_sets": tuple(self._set((*keys, "neuron_sets"), model, reference) for reference in names)
        }
        if entry.means is not None:
            reads["means"] = (self._run((*keys, "means"), model, entry.means),)
        settings = {"benchmarks": entry.benchmarks, **entry.given}
        yield Step(path, "evaluate", path, keys, settings, model, reads)

    def _instances(self, keys: KeyPath, model: str, name: str, entry: Any) -> Iterator[Step]:
        path = f"instances/{model}/{name}"
        reads = {"neurons": (self._single_set((*keys, "neurons"), model, entry.neurons),)}
        settings = {"benchmarks": entry.benchmarks, **entry.given}
        yield Step(path, "instances", f"{path}.h5", keys, settings, model, reads)

    def _audit(self, keys: KeyPath, model: str, name: str, entry: Any) -> Iterator[Step]:
        path = f"audits/{model}/{name}"
        reads = {"neurons": (self._single_set((*keys, "neurons"), model, entry.neurons),)}
        settings = {"benchmarks": entry.benchmarks, **entry.given}
        yield Step(path, "audit", f"{path}.json", keys, settings, model, reads)

    def _training(self, keys: KeyPath, model: str, name: str, entry: Any) -> Iterator[Step]:
        plan, path = f"plans/{model}/{name}", f"trainings/{model}/{name}"
        neurons = (self._single_set((*keys, "neurons"), model, entry.neurons),)
        planned = Step(
            plan,
            "plan_training",
            f"{plan}.yaml",
            (*keys, "plan"),
            entry.plan.given,
            model,
            {"neurons": neurons},
        )
        yield planned
        settings = {"task": entry.task, **entry.given}
        if entry.arms:
            settings["arms"] = list(entry.arms)
        elif needing := [key for key in _OF_ARMS if key in settings]:
            raise self._file.problem((*keys, needing[0]), f"{needing[0]} needs arms, such as [top, bottom]")
        function = "compare_arms" if entry.arms else "train"
        yield Step(path, function, path, keys, settings, model, {"plan": (Source(plan),)})

    def _comparison(self, keys: KeyPath, name: str, entry: Any) -> Step:
        path, of = f"comparisons/{name}", (*keys, "of")
        output = f"{path}.json"
        if entry.method == "evaluations":
            reads = {
                "evaluations": tuple(self._of_model(of, "evaluations", reference) for reference in entry.of)
            }
            return Step(path, "compare", output, keys, entry.given, None, reads)
        sets = [self._of_model(of, "selections", reference) for reference in entry.of]
        for source in sets:
            self._check_single(of, source)
        runs = tuple(run for source in sets for run in self._runs_of(source.step))
        reads = {"first": (sets[0],), "second": (sets[1],), "runs": runs}
        reads["evaluations"] = tuple(
            self._of_model((*keys, "evaluations"), "evaluations", reference)
            for reference in entry.evaluations
        )
        return Step(path, "neurons_compare", output, keys, entry.given, None, reads)

    # References

    def _names_for(self, model: str, entries: Mapping[str, Any]) -> list[str]:
        """The entries that are done for a model."""
        return [name for name, entry in entries.items() if model in (entry.models or self._study.models)]

    def _run(self, keys: KeyPath, model: str, name: str | None) -> Source:
        names = [
            key for key, entry in self._study.scoring.items() if model in (entry.models or self._study.models)
        ]
        if name is None:
            if len(names) != 1:
                raise self._file.problem(
                    keys[:-1], f"name the run of {model!r} to use (`run`); there are: {_listed(names)}"
                )
            name = names[0]
        if name not in names:
            raise self._file.unknown(keys, f"run of {model!r} named", name, names)
        return Source(f"scores/{model}/{name}")

    def _set(self, keys: KeyPath, model: str, reference: str) -> Source:
        name, _, culture = reference.partition("/")
        names = [
            key
            for key, entry in self._study.selections.items()
            if model in (entry.models or self._study.models)
        ]
        if name not in names:
            raise self._file.unknown(keys, f"selection of {model!r} named", name, names)
        source = Source(f"neurons/{model}/{name}", culture or None)
        if culture and not self._has_cultures(name):
            raise self._file.problem(keys, f"{name!r} is one set for all cultures; write only {name!r}")
        return source

    def _single_set(self, keys: KeyPath, model: str, reference: str) -> Source:
        source = self._set(keys, model, reference)
        self._check_single(keys, source)
        return source

    def _check_single(self, keys: KeyPath, source: Source) -> None:
        name = source.step.rpartition("/")[2]
        if source.culture is None and self._has_cultures(name):
            raise self._file.problem(
                keys, f"{name!r} has a set for each culture, but one set is needed; write {name}/CULTURE"
            )

    def _has_cultures(self, name: str) -> bool:
        return _SELECTIONS[getattr(self._study.selections[name], "method")] in SETS  # noqa: B009 - a union

    def _of_model(self, keys: KeyPath, section: str, reference: str) -> Source:
        """MODEL/NAME, and of selections also MODEL/NAME/CULTURE."""
        model, _, rest = reference.partition("/")
        if model not in self._study.models:
            raise self._file.unknown(keys, "model", model, self._study.models)
        if section == "selections":
            return self._set(keys, model, rest)
        names = self._names_for(model, self._study.evaluations)
        if rest not in names:
            raise self._file.unknown(keys, f"evaluation of {model!r} named", rest, names)
        return Source(f"evaluations/{model}/{rest}")

    def _runs_of(self, step: str) -> list[Source]:
        """The run that a set was selected from, through the sets that it was combined from."""
        _, model, name = step.split("/")
        entry: Any = self._study.selections[name]
        if entry.method in ("union", "intersect", "minus"):
            return self._runs_of(f"neurons/{model}/{entry.of[0].partition('/')[0]}")
        return [self._run(("selections", name, "run"), model, entry.run)]


def _report(file: StudyFile, steps: Sequence[Step]) -> Step:
    shown = ("scores/", "neurons/", "evaluations/", "instances/", "trainings/", "comparisons/")
    unreadable = ("train", "compare")
    sources = tuple(
        Source(step.name) for step in steps if step.name.startswith(shown) and step.function not in unreadable
    )
    report = file.study.report
    settings = {**report.given, "tables": report.tables}
    return Step("report", "report", "report.html", ("report",), settings, None, {"sources": sources})


_OF_ARMS = ("benchmarks", "rescore", "seeds", "keep_models", "cultures", "limit", "per_culture", "sample")
"""Settings of a training that only a comparison of arms has."""


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"


def _check_outputs(file: StudyFile, steps: Sequence[Step]) -> None:
    """DataFileError where two steps would write one file, or one into the other's folder."""
    owners: dict[str, Step] = {}
    for step in steps:
        if (other := owners.setdefault(step.output, step)) is not step:
            raise file.problem(
                step.keys,
                f"two steps would write {step.output}: this one and {'.'.join(map(str, other.keys))}; rename "
                "one of them",
            )


def _in_order(file: StudyFile, steps: Sequence[Step]) -> list[Step]:
    """The steps in the file's order, each after those that it needs; DataFileError names a cycle."""
    by_name = {step.name: step for step in steps}
    ordered: dict[str, Step] = {}

    def add(step: Step, above: tuple[str, ...]) -> None:
        if step.name in above:
            cycle = [*above[above.index(step.name) :], step.name]
            raise file.problem(step.keys, f"it needs itself: {' needs '.join(cycle)}; break this cycle")
        if step.name not in ordered:
            for name in step.needs:
                add(by_name[name], (*above, step.name))
            ordered[step.name] = step

    for step in steps:
        add(step, ())
    return list(ordered.values())
