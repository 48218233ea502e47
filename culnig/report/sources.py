"""What a report is made of: the paths given, opened and sorted by what they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from culnig.core.neurons import Layout
from culnig.errors import InputError, StoreError
from culnig.evaluation.compare import StoredEvaluation, open_evaluation
from culnig.evaluation.folder import REQUEST_FILE, RESULTS_FILE
from culnig.evaluation.instances.file import StoredInstances, read_instances
from culnig.selection.neuron_set import NeuronSet, read_neuron_set
from culnig.store import schema
from culnig.store.run import Run
from culnig.training.arms_table import ARMS_FILE, read_arms


@dataclass(frozen=True)
class Sources:
    """Opened inputs, each kind in the order given."""

    runs: list[Run] = field(default_factory=list)
    evaluations: list[StoredEvaluation] = field(default_factory=list)
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


def rows_of(evaluation: StoredEvaluation) -> list[dict[str, Any]]:
    """Rows of an evaluation; what an older one did not compute is None."""
    return [{**dict.fromkeys(_LATER), **row} for row in evaluation.results["rows"]]


_KINDS = ("task", "culture", "other")


def changes_of(arms: dict[str, Any], metric: str) -> list[dict[str, Any]]:
    """Rows of a comparison of arms on a metric, those of the task first."""
    rows = [row for row in arms["changes"] if row["metric"] == metric]
    return sorted(rows, key=lambda row: _KINDS.index(row["kind"]))


def read_sources(paths: Sequence[Path]) -> Sources:
    """Open run folders, evaluation folders, neuron-set files, files of `instances` and folders of arms.

    InputError where there is none, StoreError where one is missing, damaged or of no known kind.
    """
    if not paths:
        raise InputError("nothing to show; give runs, evaluations and neuron sets")
    found = Sources()
    for path in dict.fromkeys(paths):
        if not path.exists():
            raise StoreError(
                f"{path}: no such file or folder; give a run, an evaluation, a neuron set, instances or arms"
            )
        if path.is_dir() and (path / schema.RUN_FILE).exists():
            found.runs.append(Run(path))
        elif path.is_dir() and ((path / RESULTS_FILE).exists() or (path / REQUEST_FILE).exists()):
            found.evaluations.append(open_evaluation(path))
        elif path.is_dir() and (path / ARMS_FILE).exists():
            found.arms.append(read_arms(path))
        elif path.is_dir():
            raise StoreError(
                f"{path}: neither a run (no {schema.RUN_FILE}), an evaluation (no {RESULTS_FILE}) nor a "
                f"comparison of arms (no {ARMS_FILE})"
            )
        elif path.suffix in (".h5", ".hdf5"):
            found.instances.append(read_instances(path))
        else:
            found.neuron_sets.append(read_neuron_set(path))
    return found
