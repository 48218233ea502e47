"""culnig: find the neurons of a language model that carry cultural understanding.

The names below are the public Python surface. Each is imported when it is first used, so `import culnig` is
quick and does not import torch.
"""

from __future__ import annotations

import importlib
import importlib.metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    __version__: str
    from culnig.api import demo, load_model, open_run, score
    from culnig.benchmarks.base import Benchmark, ChosenItems
    from culnig.core.items import Item
    from culnig.core.neurons import Layout, Neuron
    from culnig.core.notebook import NotebookProgress
    from culnig.cultures.records import Culture
    from culnig.cultures.spellings import use_cultures
    from culnig.errors import CulnigError
    from culnig.evaluation.compare import compare
    from culnig.evaluation.evaluate import evaluate
    from culnig.evaluation.instances.instances import instances
    from culnig.evaluation.stored import Evaluation, open_evaluation
    from culnig.exchange.ask import ask
    from culnig.exchange.export import export_model
    from culnig.exchange.harness_logs import import_evaluation
    from culnig.lemmatizers.base import Lemmatizer
    from culnig.models.base import BoundModel, ModelAdapter, ModuleSlice
    from culnig.models.cache import clear_cache, list_cache
    from culnig.models.intervention import Resample, Scale, SetTo, intervene
    from culnig.planning.request import plan
    from culnig.reanalysis.offline import reduce
    from culnig.reanalysis.score_files import import_scores
    from culnig.reporting.cite import cite
    from culnig.reporting.drafted import benchmarks_new
    from culnig.reporting.inspect import inspect
    from culnig.reporting.make import figures, report
    from culnig.reporting.model_comparison import neurons_compare
    from culnig.reporting.registered import (
        check_benchmark,
        list_benchmarks,
        list_cultures,
        list_gallery,
        list_models,
        list_plugins,
        list_scorers,
    )
    from culnig.reporting.similarity import neurons_overlap
    from culnig.scorers.base import Pair, Scorer
    from culnig.selection.neighbours import (
        select_cape,
        select_crispr,
        select_ig,
        select_knowledge_neurons,
        select_lape,
    )
    from culnig.selection.neuron_set import NeuronSet, read_neuron_set
    from culnig.selection.select import (
        select_general,
        select_random,
        select_specific,
        select_specific_sets,
    )
    from culnig.selection.sets import (
        neurons_convert,
        neurons_diff,
        neurons_intersect,
        neurons_minus,
        neurons_union,
    )
    from culnig.store.merge import merge
    from culnig.store.run import Run
    from culnig.studies.examples import study_example
    from culnig.studies.file import study_schema
    from culnig.studies.packing import pack_study, unpack_study
    from culnig.studies.planning import plan_study
    from culnig.studies.running import study
    from culnig.studies.sharing import hub_pull, hub_push
    from culnig.studies.snakemake import export_study
    from culnig.training.comparison import compare_arms
    from culnig.training.plan import plan_training
    from culnig.training.train import train
    from culnig.validation.leaderboard import leaderboard
    from culnig.validation.validate import validate
    from culnig.verification.audit import audit
    from culnig.verification.verify import verify

_NAMES = {
    "culnig.api": ("demo", "load_model", "open_run", "score"),
    "culnig.benchmarks.base": ("Benchmark", "ChosenItems"),
    "culnig.core.items": ("Item",),
    "culnig.core.neurons": ("Layout", "Neuron"),
    "culnig.core.notebook": ("NotebookProgress",),
    "culnig.cultures.records": ("Culture",),
    "culnig.cultures.spellings": ("use_cultures",),
    "culnig.errors": ("CulnigError",),
    "culnig.evaluation.compare": ("compare",),
    "culnig.evaluation.evaluate": ("evaluate",),
    "culnig.evaluation.instances.instances": ("instances",),
    "culnig.evaluation.stored": ("Evaluation", "open_evaluation"),
    "culnig.exchange.ask": ("ask",),
    "culnig.exchange.export": ("export_model",),
    "culnig.exchange.harness_logs": ("import_evaluation",),
    "culnig.lemmatizers.base": ("Lemmatizer",),
    "culnig.models.base": ("BoundModel", "ModelAdapter", "ModuleSlice"),
    "culnig.models.cache": ("clear_cache", "list_cache"),
    "culnig.models.intervention": ("Resample", "Scale", "SetTo", "intervene"),
    "culnig.planning.request": ("plan",),
    "culnig.reanalysis.offline": ("reduce",),
    "culnig.reanalysis.score_files": ("import_scores",),
    "culnig.reporting.cite": ("cite",),
    "culnig.reporting.drafted": ("benchmarks_new",),
    "culnig.reporting.inspect": ("inspect",),
    "culnig.reporting.make": ("figures", "report"),
    "culnig.reporting.model_comparison": ("neurons_compare",),
    "culnig.reporting.registered": (
        *(
            "check_benchmark",
            "list_benchmarks",
            "list_cultures",
            "list_gallery",
            "list_models",
            "list_plugins",
            "list_scorers",
        ),
    ),
    "culnig.reporting.similarity": ("neurons_overlap",),
    "culnig.scorers.base": ("Pair", "Scorer"),
    "culnig.selection.neighbours": (
        *("select_cape", "select_crispr", "select_ig", "select_knowledge_neurons", "select_lape"),
    ),
    "culnig.selection.neuron_set": ("NeuronSet", "read_neuron_set"),
    "culnig.selection.select": (
        *("select_general", "select_random", "select_specific", "select_specific_sets"),
    ),
    "culnig.selection.sets": (
        *("neurons_convert", "neurons_diff", "neurons_intersect", "neurons_minus", "neurons_union"),
    ),
    "culnig.store.merge": ("merge",),
    "culnig.store.run": ("Run",),
    "culnig.studies.examples": ("study_example",),
    "culnig.studies.file": ("study_schema",),
    "culnig.studies.planning": ("plan_study",),
    "culnig.studies.packing": ("pack_study", "unpack_study"),
    "culnig.studies.running": ("study",),
    "culnig.studies.sharing": ("hub_pull", "hub_push"),
    "culnig.studies.snakemake": ("export_study",),
    "culnig.training.comparison": ("compare_arms",),
    "culnig.training.plan": ("plan_training",),
    "culnig.training.train": ("train",),
    "culnig.validation.leaderboard": ("leaderboard",),
    "culnig.validation.validate": ("validate",),
    "culnig.verification.audit": ("audit",),
    "culnig.verification.verify": ("verify",),
}
_HOME = {name: module for module, names in _NAMES.items() for name in names}

__all__ = [
    "Benchmark",
    "BoundModel",
    "ChosenItems",
    "CulnigError",
    "Culture",
    "Evaluation",
    "Item",
    "Layout",
    "Lemmatizer",
    "ModelAdapter",
    "ModuleSlice",
    "Neuron",
    "NeuronSet",
    "NotebookProgress",
    "Pair",
    "Resample",
    "Run",
    "Scale",
    "Scorer",
    "SetTo",
    "__version__",
    "ask",
    "audit",
    "benchmarks_new",
    "check_benchmark",
    "cite",
    "clear_cache",
    "compare",
    "compare_arms",
    "demo",
    "evaluate",
    "export_model",
    "export_study",
    "figures",
    "hub_pull",
    "hub_push",
    "import_evaluation",
    "import_scores",
    "inspect",
    "instances",
    "intervene",
    "leaderboard",
    "list_benchmarks",
    "list_cache",
    "list_cultures",
    "list_gallery",
    "list_models",
    "list_plugins",
    "list_scorers",
    "load_model",
    "merge",
    "neurons_compare",
    "neurons_convert",
    "neurons_diff",
    "neurons_intersect",
    "neurons_minus",
    "neurons_overlap",
    "neurons_union",
    "open_evaluation",
    "open_run",
    "pack_study",
    "plan",
    "plan_study",
    "plan_training",
    "read_neuron_set",
    "reduce",
    "report",
    "score",
    "select_cape",
    "select_crispr",
    "select_general",
    "select_ig",
    "select_knowledge_neurons",
    "select_lape",
    "select_random",
    "select_specific",
    "select_specific_sets",
    "study",
    "study_example",
    "study_schema",
    "train",
    "unpack_study",
    "use_cultures",
    "validate",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return importlib.metadata.version("culnig-engine")
    if name not in _HOME:
        raise AttributeError(f"module 'culnig' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
