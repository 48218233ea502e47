"""The file of a study, checked before anything runs.

Its sections name things: `models`, `scoring` (runs), `selections` (neuron sets), `evaluations`, `instances`,
`audits`, `trainings` and `comparisons`. Later sections refer to names of earlier ones. Each entry is done for
every model unless its `models` lists some. All other keys are the options of the commands
(`culnig.studies.keys`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from culnig.core.checked_documents import KeyPath, Lines, line_of, read_checked
from culnig.errors import DataFileError, did_you_mean
from culnig.models.settings import LoadOptions
from culnig.provenance import file_hash
from culnig.studies.keys import Section, Texts, settings_of

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")]
"""Names become names of files, so they are lower case."""
Text = Annotated[str, Field(min_length=1)]

_LOADING = tuple(LoadOptions.__annotations__)
"""Options that belong to a model, not to what is done with it."""


class ModelKeys(Section):
    """A model, and how it is loaded."""

    model: Text
    """Hub name, folder, .gguf file (from the study's folder), or `embedded`."""


class OnModels(Section):
    """Something that is run for models."""

    models: Texts = ()
    """Names of the models that it is run for; by default all."""


class ScoringKeys(OnModels):
    """A run for each model."""

    benchmarks: Texts | str
    """Names of benchmarks, or files that declare one (from the study's folder)."""


class SelectionKeys(OnModels):
    """Neuron sets from the run of each model."""

    run: Text | None = None
    """Name in `scoring` of the runs; by default the only one."""


class GeneralKeys(SelectionKeys):
    """Culture-general neurons."""

    method: Literal["general"]


class SpecificKeys(SelectionKeys):
    """Culture-specific neurons, one set for each culture."""

    method: Literal["specific"]


class RandomKeys(SelectionKeys):
    """Random neurons with the counts of another set."""

    method: Literal["random"]
    like: Text
    """Name in `selections` of the set whose counts are matched."""


class LapeKeys(SelectionKeys):
    """Neurons that are active for few cultures (LAPE), one set for each culture."""

    method: Literal["lape"]


class CapeKeys(SelectionKeys):
    """The same method for cultures (CAPE)."""

    method: Literal["cape"]


class CrisprKeys(SelectionKeys):
    """Neurons that raise the most probable wrong label (CRISPR)."""

    method: Literal["crispr"]


class IgKeys(SelectionKeys):
    """Neurons with the largest integrated gradients."""

    method: Literal["ig"]


class KnowledgeKeys(SelectionKeys):
    """Knowledge neurons, one set for each culture."""

    method: Literal["knowledge-neurons"]


class CombinationKeys(OnModels):
    """Neurons in any, in all, or only in the first of other sets."""

    method: Literal["union", "intersect", "minus"]
    of: Annotated[Sequence[Text], Field(min_length=2)]
    """Names in `selections`; NAME/CULTURE is the set of one culture."""


class EvaluationKeys(OnModels):
    """Models with neurons masked."""

    benchmarks: Texts | str
    """Names of benchmarks, or files that declare one (from the study's folder)."""
    neuron_sets: Texts | str = ()
    """Names in `selections`; a name with sets of several cultures stands for all, NAME/CULTURE for one."""
    means: Text | None = None
    """Name in `scoring` of the runs whose activations replace those of masked neurons."""


class InstancesKeys(OnModels):
    """What the neurons of a set score on every item of a benchmark."""

    benchmarks: Text
    neurons: Text
    """Name in `selections`, or NAME/CULTURE."""


class AuditKeys(OnModels):
    """Scores of a set's best neurons, compared with the exact effect of zeroing each."""

    benchmarks: Texts | str
    neurons: Text
    """Name in `selections`, or NAME/CULTURE."""


class TrainingKeys(OnModels):
    """Fine-tuning of the weights that a neuron set chooses; with arms, a comparison."""

    neurons: Text
    """Name in `selections`, or NAME/CULTURE, of the set that the plan is made from."""
    task: Text
    """Benchmark to train on."""
    arms: Texts = ()
    """Arms to compare, such as [top, bottom]; without any, the plan itself is trained."""


class EvaluationsComparedKeys(Section):
    """Paired tests of conditions between evaluations."""

    method: Literal["evaluations"]
    of: Annotated[Sequence[Text], Field(min_length=1)]
    """Evaluations as MODEL/NAME; later ones are compared with the first."""


class NeuronsComparedKeys(Section):
    """Neuron sets of two models: where they are, and whether cultures look alike."""

    method: Literal["neurons"]
    of: Annotated[Sequence[Text], Field(min_length=2, max_length=2)]
    """Two sets as MODEL/NAME or MODEL/NAME/CULTURE."""
    evaluations: Annotated[Sequence[Text], Field(max_length=2)] = ()
    """Two evaluations with a matrix, as MODEL/NAME, whose matrices are compared."""


class ReportKeys(Section):
    """The report at the end."""

    tables: bool = False
    """Whether every table is written as CSV and LaTeX too."""


if TYPE_CHECKING:
    Model = ModelKeys
    Scoring = ScoringKeys
    Evaluation = EvaluationKeys
    Instances = InstancesKeys
    Audit = AuditKeys
    Training = TrainingKeys
    Report = ReportKeys
    EvaluationsCompared = EvaluationsComparedKeys
    NeuronsCompared = NeuronsComparedKeys
    General = GeneralKeys
    Specific = SpecificKeys
    Random = RandomKeys
    Lape = LapeKeys
    Cape = CapeKeys
    Crispr = CrisprKeys
    Ig = IgKeys
    Knowledge = KnowledgeKeys
    Combination = CombinationKeys
    TrainingPlan = Section
else:
    Model = settings_of("Model", ("load_model",), ModelKeys, ("source",))
    Scoring = settings_of("Scoring", ("score",), ScoringKeys, ("model", *_LOADING))
    General = settings_of("General", ("select_general",), GeneralKeys)
    Specific = settings_of("Specific", ("select_specific_sets",), SpecificKeys)
    Random = settings_of("Random", ("select_random",), RandomKeys)
    Lape = settings_of("Lape", ("select_lape",), LapeKeys)
    Cape = settings_of("Cape", ("select_cape",), CapeKeys)
    Crispr = settings_of("Crispr", ("select_crispr",), CrisprKeys)
    Ig = settings_of("Ig", ("select_ig",), IgKeys)
    Knowledge = settings_of("KnowledgeNeurons", ("select_knowledge_neurons",), KnowledgeKeys)
    Combination = settings_of("Combination", ("neurons_union",), CombinationKeys, ("sets",))
    Evaluation = settings_of("Evaluation", ("evaluate",), EvaluationKeys, ("model", *_LOADING))
    Instances = settings_of("Instances", ("instances",), InstancesKeys, ("model", *_LOADING))
    Audit = settings_of("Audit", ("audit",), AuditKeys, ("model", *_LOADING))
    TrainingPlan = settings_of("TrainingPlan", ("plan_training",), Section, ("neurons", "model", *_LOADING))
    Training = settings_of("Training", ("compare_arms", "train"), TrainingKeys, ("model", "plan", *_LOADING))
    EvaluationsCompared = settings_of("EvaluationsCompared", ("compare",), EvaluationsComparedKeys)
    NeuronsCompared = settings_of(
        "NeuronsCompared", ("neurons_compare",), NeuronsComparedKeys, ("first", "second", "runs")
    )
    Report = settings_of("Report", ("report",), ReportKeys, ("sources",))

Selection = Annotated[
    General | Specific | Random | Lape | Cape | Crispr | Ig | Knowledge | Combination,
    Field(discriminator="method"),
]
Comparison = Annotated[EvaluationsCompared | NeuronsCompared, Field(discriminator="method")]


class PlannedTraining(Training):
    """A training, with the settings of its plan."""

    plan: TrainingPlan = TrainingPlan()
    """Which weights are trained: the options of `modules`."""


class Study(Section):
    """A study: models, what is measured on them, and the report."""

    prompt_date: date | Text | None = None
    """Date that chat templates may write into prompts; by default the day on which the study was started."""
    models: Annotated[dict[Name, Model], Field(min_length=1)]
    """Models by a short name."""
    scoring: dict[Name, Scoring] = {}
    """Runs, by name."""
    selections: dict[Name, Selection] = {}
    """Neuron sets, by name."""
    evaluations: dict[Name, Evaluation] = {}
    """Evaluations, by name."""
    instances: dict[Name, Instances] = {}
    """Analyses of single items, by name."""
    audits: dict[Name, Audit] = {}
    """Audits of neuron sets, by name."""
    trainings: dict[Name, PlannedTraining] = {}
    """Trainings, by name."""
    comparisons: dict[Name, Comparison] = {}
    """Comparisons between models or evaluations, by name."""
    report: Report = Report()
    """The report of everything."""


@dataclass(frozen=True)
class StudyFile:
    """A study that was read from a file."""

    path: Path
    study: Study
    lines: Lines
    hash: str
    """SHA-256 of the file."""

    def problem(self, keys: KeyPath, text: str) -> DataFileError:
        """The error for a part of the file, with its line."""
        return DataFileError(self.path, f"{'.'.join(map(str, keys))}: {text}", line=line_of(self.lines, keys))

    def unknown(self, keys: KeyPath, kind: str, name: str, known: Iterable[str]) -> DataFileError:
        """The error for a name that the study does not have."""
        names = list(known)
        return self.problem(
            keys, f"no {kind} {name!r}{did_you_mean(name, names)}; there are: {', '.join(names) or 'none'}"
        )

    @property
    def folder(self) -> Path:
        """The folder that paths in the study are relative to."""
        return self.path.absolute().parent

    def changed(self) -> bool:
        """Whether the file has changed since it was read."""
        return not self.path.is_file() or file_hash(self.path) != self.hash


def read_study(path: Path | str) -> StudyFile:
    """Read and check the file of a study; DataFileError names every problem with its line."""
    path = Path(path)
    study, lines = read_checked(path, Study)
    return StudyFile(path, study, lines, file_hash(path))


def study_schema() -> dict[str, Any]:
    """The JSON Schema of a study's file, with which editors complete and check keys."""
    schema: dict[str, Any] = Study.model_json_schema()
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "culnig-engine study",
        **schema,
    }


def sections(study: Study) -> Mapping[str, Mapping[str, Section]]:
    """The named entries of a study, by section, in the order in which sections refer to each other."""
    return {
        name: getattr(study, name)
        for name in (
            *("scoring", "selections", "evaluations", "instances", "audits", "trainings", "comparisons"),
        )
    }
