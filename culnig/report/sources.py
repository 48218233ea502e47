"""Inputs of a report: opens the given paths and sorts them by kind."""

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
    """Opened inputs by kind, each in the given order."""

    runs: list[Run] = field(default_factory=list)
    evaluations: list[StoredEvaluation] = field(default_factory=list)
    neuron_sets: list[NeuronSet] = field(default_factory=list)
    instances: list[StoredInstances] = field(default_factory=list)
    arms: list[dict[str, Any]] = field(default_factory=list)
    """Comparisons of trained arms, the contents of `arms.json`."""

    @property
    def models(self) -> list[str]:
        """Names of all models of the inputs, each once."""
        named = [run.model for run in self.runs]
        named += [
            str(evaluation.results.get("model", {}).get("source", "?")) for evaluation in self.evaluations
        ]
        named += [neurons.model for neurons in self.neuron_sets]
        named += [str(document["model"]["source"]) for document in self.arms]
        return list(dict.fromkeys(named))

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


def rows_of(evaluation: StoredEvaluation) -> list[dict[str, Any]]:
    """Rows of an evaluation; keys that an older evaluation lacks are None."""
    return [{**dict.fromkeys(_OPTIONAL), **row} for row in evaluation.results["rows"]]


def masked_rows(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of masked sets, without the unmasked model and the random baselines."""
    return [row for row in rows if row["change"] and row["like"] is None]


_KINDS = ("task", "culture", "other")


def changes_of(arms: dict[str, Any], metric: str) -> list[dict[str, Any]]:
    """Rows of a comparison of arms in one metric, the trained task first."""
    rows = [row for row in arms["changes"] if row["metric"] == metric]
    return sorted(rows, key=lambda row: _KINDS.index(row["kind"]))


def read_sources(paths: Sequence[Path]) -> Sources:
    """Open run folders, evaluation folders, neuron-set files, files of `instances` and folders of arms.

    InputError without paths, StoreError if one is missing, damaged or of an unknown kind.
    """
    if not paths:
        raise InputError("no inputs given; give runs, evaluations, neuron sets, instances or arms")
    sources = Sources()
    for path in dict.fromkeys(paths):
        if not path.exists():
            raise StoreError(
                f"{path}: no such file or folder; give a run, an evaluation, a neuron set, instances or arms"
            )
        if path.is_dir() and (path / schema.RUN_FILE).exists():
            sources.runs.append(Run(path))
        elif path.is_dir() and ((path / RESULTS_FILE).exists() or (path / REQUEST_FILE).exists()):
            sources.evaluations.append(open_evaluation(path))
        elif path.is_dir() and (path / ARMS_FILE).exists():
            sources.arms.append(read_arms(path))
        elif path.is_dir():
            raise StoreError(
                f"{path}: not a run (no {schema.RUN_FILE}), an evaluation (no {RESULTS_FILE}) or a "
                f"comparison of arms (no {ARMS_FILE})"
            )
        elif path.suffix in (".h5", ".hdf5"):
            sources.instances.append(read_instances(path))
        else:
            sources.neuron_sets.append(read_neuron_set(path))
    return sources
