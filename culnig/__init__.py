"""culnig: find the neurons of a language model that carry cultural understanding.

The names below are the public Python surface; each is imported when it is first used, so `import culnig`
stays quick and does not import torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from culnig.api import load_model, open_run
    from culnig.evaluation.compare import open_evaluation
    from culnig.intervention import Resample, Scale, SetTo, intervene
    from culnig.neurons import Layout, Neuron
    from culnig.selection.neuron_set import NeuronSet, read_neuron_set

_HOME = {
    "Layout": "culnig.neurons",
    "Neuron": "culnig.neurons",
    "NeuronSet": "culnig.selection.neuron_set",
    "Resample": "culnig.intervention",
    "Scale": "culnig.intervention",
    "SetTo": "culnig.intervention",
    "intervene": "culnig.intervention",
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
    if name not in _HOME:
        raise AttributeError(f"module 'culnig' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
