"""What a report is made of: the paths given, opened and sorted by what they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from culnig.core.neurons import Layout
from culnig.errors import InputError, StoreError
from culnig.evaluation.folder import REQUEST_FILE, RESULTS_FILE
from culnig.evaluation.instances.file import StoredInstances, read_instances
from culnig.evaluation.stored import Evaluation, open_evaluation
from culnig.selection.neuron_set import NeuronSet, read_neuron_set
from culnig.store import schema
from culnig.store.run import Run
from culnig.training.arms_table import ARMS_FILE, read_arms


@dataclass(frozen=True)
class Sources:
    """Opened inputs, each kind in the order given."""

    runs: list[Run] = field(default_factory=list)
    evaluations: list[Evaluation] = field(default_factory=list)
    neuron_sets: list[NeuronSet] = field(default_factory=list)
    instances: list[StoredInstances] = field(default_factory=list)
    arms: list[dict[str, Any]] = field(default_factory=list)
    """Comparisons of trained arms, as `arms.json` holds them."""

    @property
    def models(self) -> list[str]:
        """Names of all models that the inputs speak of, each once."""
        named = [run.model for run in self.runs]
        named += [
            str(evaluation.results.get("model", {}).get("source", "?")) for evaluation in self.evaluations
        ]
        named += [those.model for those in self.neuron_sets]
        named += [str(document["model"]["source"]) for document in self.arms]
        return list(dict.fromkeys(named))

    def add(self, source: Run | Evaluation | NeuronSet | StoredInstances | dict[str, Any]) -> None:
        """Add an opened input to those of its kind."""
        if isinstance(source, Run):
            self.runs.append(source)
        elif isinstance(source, Evaluation):
            self.evaluations.append(source)
        elif isinstance(source, NeuronSet):
            self.neuron_sets.append(source)
        elif isinstance(source, StoredInstances):
            self.instances.append(source)
        else:
            self.arms.append(source)

    def run_of(self, those: NeuronSet) -> Run | None:
        """The run with the layout of a set, the one it was made from where that is among the inputs."""
        fitting = [run for run in self.runs if run.layout.hash == those.layout_hash]
        hashes = {source.get("scores_hash") for source in those.sources}
        return next((run for run in fitting if run.scores_hash in hashes), fitting[0] if fitting else None)

    def layout_of(self, those: NeuronSet) -> Layout | None:
        """The layout of a set, where a run among the inputs has it."""
        run = self.run_of(those)
        return None if run is None else run.layout


_LATER = ("like", "change", "loss", "against_random", "p_holm", "chance", "option_accuracy", "p_gold")
"""What rows of older evaluations may lack."""


def rows_of(evaluation: Evaluation) -> list[dict[str, Any]]:
    """Rows of an evaluation; what an older one did not compute is None."""
    return [{**dict.fromkeys(_LATER), **row} for row in evaluation.results["rows"]]


_KINDS = ("task", "culture", "other")


def changes_of(arms: dict[str, Any], metric: str) -> list[dict[str, Any]]:
    """Rows of a comparison of arms on a metric, those of the task first."""
    rows = [row for row in arms["changes"] if row["metric"] == metric]
    return sorted(rows, key=lambda row: _KINDS.index(row["kind"]))


Source = Path | str | Run | Evaluation | NeuronSet | StoredInstances
"""A run, an evaluation, a neuron set, instances or trained arms: the opened object or its path."""


def read_sources(sources: Source | Sequence[Source]) -> Sources:
    """Open run folders, evaluation folders, neuron-set files, files of `instances` and folders of arms.

    InputError where none is given, StoreError where one is missing, damaged or of no known kind.
    """
    several = sources if isinstance(sources, Sequence) and not isinstance(sources, str) else [sources]
    if not several:
        raise InputError("nothing to show; give runs, evaluations and neuron sets")
    opened, paths = Sources(), set[Path]()
    for source in several:
        if not isinstance(source, Path | str):
            opened.add(source)
        elif (path := Path(source)) not in paths:
            paths.add(path)
            opened.add(_open(path))
    return opened


def _open(path: Path) -> Run | Evaluation | NeuronSet | StoredInstances | dict[str, Any]:
    if not path.exists():
        raise StoreError(
            f"{path}: no such file or folder; give a run, an evaluation, a neuron set, instances or arms"
        )
    if not path.is_dir():
        return read_instances(path) if path.suffix in (".h5", ".hdf5") else read_neuron_set(path)
    if (path / schema.RUN_FILE).exists():
        return Run(path)
    if (path / RESULTS_FILE).exists() or (path / REQUEST_FILE).exists():
        return open_evaluation(path)
    if (path / ARMS_FILE).exists():
        return read_arms(path)
    raise StoreError(
        f"{path}: neither a run (no {schema.RUN_FILE}), an evaluation (no {RESULTS_FILE}) nor a comparison "
        f"of arms (no {ARMS_FILE})"
    )
