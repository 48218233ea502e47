"""culnig: find the neurons of a language model that carry cultural understanding.

The names below are the public Python surface; each is imported when it is first used, so `import culnig`
stays quick and does not import torch.
"""

from __future__ import annotations

import importlib
import importlib.metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    __version__: str
    from culnig.api import load_model, open_run
    from culnig.core.neurons import Layout, Neuron
    from culnig.evaluation.compare import open_evaluation
    from culnig.evaluation.instances.instances import instances
    from culnig.models.intervention import Resample, Scale, SetTo, intervene
    from culnig.planning.request import plan
    from culnig.reanalysis.offline import reduce
    from culnig.reanalysis.score_files import import_scores
    from culnig.report.inspect import inspect
    from culnig.report.registered import (
        check_benchmark,
        list_benchmarks,
        list_cultures,
        list_models,
        list_plugins,
        list_scorers,
    )
    from culnig.report.similarity import neurons_overlap
    from culnig.selection.neuron_set import NeuronSet, read_neuron_set
    from culnig.selection.sets import (
        neurons_convert,
        neurons_diff,
        neurons_intersect,
        neurons_minus,
        neurons_union,
    )
    from culnig.store.merge import merge
    from culnig.training.comparison import compare_arms
    from culnig.training.plan import plan_training
    from culnig.training.train import train
    from culnig.validation.validate import validate
    from culnig.verification.audit import audit
    from culnig.verification.verify import verify

_HOME = {
    "Layout": "culnig.core.neurons",
    "Neuron": "culnig.core.neurons",
    "NeuronSet": "culnig.selection.neuron_set",
    "Resample": "culnig.models.intervention",
    "Scale": "culnig.models.intervention",
    "SetTo": "culnig.models.intervention",
    "audit": "culnig.verification.audit",
    "check_benchmark": "culnig.report.registered",
    "compare_arms": "culnig.training.comparison",
    "import_scores": "culnig.reanalysis.score_files",
    "inspect": "culnig.report.inspect",
    "instances": "culnig.evaluation.instances.instances",
    "intervene": "culnig.models.intervention",
    "list_benchmarks": "culnig.report.registered",
    "list_cultures": "culnig.report.registered",
    "list_models": "culnig.report.registered",
    "list_plugins": "culnig.report.registered",
    "list_scorers": "culnig.report.registered",
    "load_model": "culnig.api",
    "merge": "culnig.store.merge",
    "neurons_convert": "culnig.selection.sets",
    "neurons_diff": "culnig.selection.sets",
    "neurons_intersect": "culnig.selection.sets",
    "neurons_minus": "culnig.selection.sets",
    "neurons_overlap": "culnig.report.similarity",
    "neurons_union": "culnig.selection.sets",
    "open_evaluation": "culnig.evaluation.compare",
    "open_run": "culnig.api",
    "plan": "culnig.planning.request",
    "plan_training": "culnig.training.plan",
    "read_neuron_set": "culnig.selection.neuron_set",
    "reduce": "culnig.reanalysis.offline",
    "train": "culnig.training.train",
    "validate": "culnig.validation.validate",
    "verify": "culnig.verification.verify",
}

__all__ = [
    "Layout",
    "Neuron",
    "NeuronSet",
    "Resample",
    "Scale",
    "SetTo",
    "__version__",
    "audit",
    "check_benchmark",
    "compare_arms",
    "import_scores",
    "inspect",
    "instances",
    "intervene",
    "list_benchmarks",
    "list_cultures",
    "list_models",
    "list_plugins",
    "list_scorers",
    "load_model",
    "merge",
    "neurons_convert",
    "neurons_diff",
    "neurons_intersect",
    "neurons_minus",
    "neurons_overlap",
    "neurons_union",
    "open_evaluation",
    "open_run",
    "plan",
    "plan_training",
    "read_neuron_set",
    "reduce",
    "train",
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
