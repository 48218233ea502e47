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
    from culnig.models.intervention import Resample, Scale, SetTo, intervene
    from culnig.selection.neuron_set import NeuronSet, read_neuron_set

_HOME = {
    "Layout": "culnig.core.neurons",
    "Neuron": "culnig.core.neurons",
    "NeuronSet": "culnig.selection.neuron_set",
    "Resample": "culnig.models.intervention",
    "Scale": "culnig.models.intervention",
    "SetTo": "culnig.models.intervention",
    "intervene": "culnig.models.intervention",
    "load_model": "culnig.api",
    "open_evaluation": "culnig.evaluation.compare",
    "open_run": "culnig.api",
    "read_neuron_set": "culnig.selection.neuron_set",
}

__all__ = [
    "Layout",
    "Neuron",
    "NeuronSet",
    "Resample",
    "Scale",
    "SetTo",
    "__version__",
    "intervene",
    "load_model",
    "open_evaluation",
    "open_run",
    "read_neuron_set",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return importlib.metadata.version("culnig-engine")
    if name not in _HOME:
        raise AttributeError(f"module 'culnig' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
