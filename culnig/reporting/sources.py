"""Inputs of a report: opens the given paths and sorts them by kind."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from culnig.core.neurons import Layout
from culnig.errors import InputError, StoreError
from culnig.evaluation.compare import with_current_tests
from culnig.evaluation.folder import REQUEST_FILE, RESULTS_FILE
from culnig.evaluation.instances.file import StoredInstances, read_instances
from culnig.evaluation.stored import Evaluation, open_evaluation
from culnig.models.embedded import model_name
from culnig.selection.neuron_set import NeuronSet, read_neuron_set
from culnig.store import schema
from culnig.store.archive import is_archive, read_archive
from culnig.store.files import read_json
from culnig.store.run import Run
from culnig.training.arms_table import ARMS_FILE, read_arms
from culnig.validation.stored import FORMAT as VALIDATION_FORMAT
from culnig.validation.stored import is_validation, read_validation


@dataclass(frozen=True)
class Sources:
    """Opened inputs by kind, each in the given order."""

    runs: list[Run] = field(default_factory=list)
    evaluations: list[Evaluation] = field(default_factory=list)
    neuron_sets: list[NeuronSet] = field(default_factory=list)
    instances: list[StoredInstances] = field(default_factory=list)
    arms: list[dict[str, Any]] = field(default_factory=list)
    """Comparisons of trained arms, the contents of `arms.json`."""
    validations: list[dict[str, Any]] = field(default_factory=list)
    """Validations on known neurons, the contents of their `results.json`."""
    set_paths: list[Path] = field(default_factory=list)
    """Files of the neuron sets that were given as files."""
    comparisons: list[dict[str, Any]] = field(default_factory=list)
    """Comparisons of two models' neuron sets, the documents of `neurons_compare`."""
    shown_in: Path | None = None
    """Folder of the file that shows them."""

    def shown(self, path: Path) -> str:
        """A path in the commands of a report: from the report's folder if it is inside, else as given.

        So a folder with its report can be moved, and does not tell where it was made.
        """
        if self.shown_in is not None and path.resolve().is_relative_to(self.shown_in.resolve()):
            return str(path.resolve().relative_to(self.shown_in.resolve()))
        return str(path)

    @property
    def model_names(self) -> list[str]:
        """Names of all models that readers see."""
        return [model_name(source) for source in self.models]

    @property
    def models(self) -> list[str]:
        """All models of the inputs as they were given for `--model`, each once."""
        named = [run.model for run in self.runs]
        named += [
            str(evaluation.results.get("model", {}).get("source", "?")) for evaluation in self.evaluations
        ]
        named += [neurons.model for neurons in self.neuron_sets]
        named += [str(document["model"]["source"]) for document in self.arms]
        return list(dict.fromkeys(named))

    @property
    def distinct(self) -> Sources:
        """The same inputs; sets of several models that have one name carry the model's name too."""
        models: dict[str, set[str]] = {}
        for neurons in self.neuron_sets:
            models.setdefault(neurons.name, set()).add(neurons.model)
        sets = [
            replace(own, name=f"{own.name} ({model_name(own.model)})") if len(models[own.name]) > 1 else own
            for own in self.neuron_sets
        ]
        return replace(self, neuron_sets=sets)

    def rows_to_tell(self, evaluation: Evaluation) -> list[dict[str, Any]]:
        """Rows of an evaluation's masked sets, with `of`: words for its model, if there are several."""
        model = model_name(str(evaluation.results.get("model", {}).get("source", "?")))
        of = f" of {model}" if len(self.models) > 1 else ""
        return [row | {"of": of} for row in masked_rows(rows_of(evaluation))]

    def add(self, source: Run | Evaluation | NeuronSet | StoredInstances | dict[str, Any]) -> None:
        """Add an opened input to those of its kind."""
        if isinstance(source, Run):
            self.runs.append(source)
        elif isinstance(source, Evaluation):
            self.evaluations.append(with_current_tests(source))
        elif isinstance(source, NeuronSet):
            self.neuron_sets.append(source)
        elif isinstance(source, StoredInstances):
            self.instances.append(source)
        elif source.get("format") == VALIDATION_FORMAT:
            self.validations.append(source)
        elif source.get("format") == COMPARISON_FORMAT:
            self.comparisons.append(source)
        else:
            self.arms.append(source)

    def run_of(self, neurons: NeuronSet) -> Run | None:
        """A run with the layout of a set, preferably the run that the set was made from."""
        fitting = [run for run in self.runs if run.layout.hash == neurons.layout_hash]
        hashes = {source.get("scores_hash") for source in neurons.sources}
        return next((run for run in fitting if run.scores_hash in hashes), fitting[0] if fitting else None)

    def layout_of(self, neurons: NeuronSet) -> Layout | None:
        """The layout of a set, if a run among the inputs has it."""
        run = self.run_of(neurons)
        return None if run is None else run.layout


_OPTIONAL = ("like", "change", "loss", "against_random", "p_holm", "chance", "option_accuracy", "p_gold")
"""Keys that rows of older evaluations may lack."""


def rows_of(evaluation: Evaluation) -> list[dict[str, Any]]:
    """Rows of an evaluation; keys that an older evaluation lacks are None."""
    return [{**dict.fromkeys(_OPTIONAL), **row} for row in evaluation.results["rows"]]


def masked_rows(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of masked sets, without the unmasked model and the random baselines."""
    return [row for row in rows if row["change"] and row["like"] is None]


COMPARISON_FORMAT = "culnig-neurons-compare"


def is_comparison(path: Path) -> bool:
    """Whether a file is what `neurons_compare` gives; one that cannot be read is not."""
    try:
        return read_json(path, "a comparison").get("format") == COMPARISON_FORMAT
    except StoreError:
        return False


_KINDS = ("task", "culture", "other")


def changes_of(arms: dict[str, Any], metric: str) -> list[dict[str, Any]]:
    """Rows of a comparison of arms in one metric, the trained task first."""
    rows = [row for row in arms["changes"] if row["metric"] == metric]
    return sorted(rows, key=lambda row: _KINDS.index(row["kind"]))


Source = Path | str | Run | Evaluation | NeuronSet | StoredInstances
"""A run, an evaluation, a neuron set, instances or trained arms: the opened object or its path."""


def read_sources(sources: Source | Sequence[Source]) -> Sources:
    """Open folders of runs, evaluations, validations and arms, neuron sets, files of `instances`, and packs.

    InputError without inputs, StoreError if one is missing, damaged or of an unknown kind.
    """
    several = sources if isinstance(sources, Sequence) and not isinstance(sources, str) else [sources]
    if not several:
        raise InputError("no inputs given; give runs, evaluations, neuron sets, instances or arms")
    opened, paths = Sources(), set[Path]()
    for source in several:
        if not isinstance(source, Path | str):
            opened.add(source)
        elif (path := Path(source)) not in paths:
            paths.add(path)
            for read in _open_archive(path) if is_archive(path) else [_open(path)]:
                opened.add(read)
                if isinstance(read, NeuronSet) and path.suffix == ".json":
                    opened.set_paths.append(path)
    return opened


def is_source(path: Path) -> bool:
    """Whether a path looks like an input of a report; whether it can be read turns out on opening."""
    marks = (schema.RUN_FILE, RESULTS_FILE, REQUEST_FILE, ARMS_FILE)
    if path.name.endswith(".neurons.json") or any((path / mark).is_file() for mark in marks):
        return True
    return path.suffix == ".json" and path.is_file() and is_comparison(path)


_ARCHIVED = (
    "neurons/**/*.neurons.json",
    "evaluations/*/*",
    "instances/*/*.h5",
    "trainings/*/*",
    "comparisons/*",
)
"""Where a pack of a study has its inputs."""


def _open_archive(path: Path) -> list[Run | Evaluation | NeuronSet | StoredInstances | dict[str, Any]]:
    """The inputs in a pack of a study; StoreError if it is damaged."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        read_archive(path, folder)
        inner = [own for pattern in _ARCHIVED for own in sorted(folder.glob(pattern))]
        return [_open(own) for own in inner if own.suffix == ".h5" or is_source(own)]


def _open(path: Path) -> Run | Evaluation | NeuronSet | StoredInstances | dict[str, Any]:
    if not path.exists():
        raise StoreError(
            f"{path}: no such file or folder; give a run, an evaluation, a neuron set, instances or arms"
        )
    if not path.is_dir():
        if path.suffix in (".h5", ".hdf5"):
            return read_instances(path)
        return read_json(path, "a comparison") if is_comparison(path) else read_neuron_set(path)
    if (path / schema.RUN_FILE).exists():
        return Run(path)
    if is_validation(path):
        return read_validation(path)
    if (path / RESULTS_FILE).exists() or (path / REQUEST_FILE).exists():
        return open_evaluation(path)
    if (path / ARMS_FILE).exists():
        return read_arms(path)
    raise StoreError(
        f"{path}: not a run (no {schema.RUN_FILE}), an evaluation or a validation (no {RESULTS_FILE}) or a "
        f"comparison of arms (no {ARMS_FILE})"
    )
