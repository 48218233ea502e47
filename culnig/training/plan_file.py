"""Read a training plan from its YAML file; `Plan.write` writes it."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from culnig.core.data_files import check_yaml
from culnig.core.neurons import Neuron
from culnig.errors import StoreError, argument, command
from culnig.selection.neuron_set import NeuronSet
from culnig.store.files import CHECKSUM
from culnig.store.formats import check_format
from culnig.training.plan import FORMAT, FORMAT_VERSION, Plan, PlanSettings
from culnig.training.weights import Part

_MOST_VALUES = 20_000_000
"""Values of the largest plan: four for each of a few million neurons."""


def read_plan(path: Path) -> Plan:
    """Read a plan; StoreError if it is missing, foreign, damaged or empty."""
    document = _read_yaml(path)
    check_format(path, document.get("format"), document.get("format_version"), FORMAT, FORMAT_VERSION)
    try:
        plan = _plan(document)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise StoreError(f"{path}: {type(error).__name__} {error} in a plan; the file is damaged") from None
    if not plan.train:
        raise StoreError(
            f"{path}: the plan is empty: it trains nothing; make one with a larger {argument('budget')}"
        )
    if plan.n_trainable != document.get("n_trainable"):
        raise StoreError(
            f"{path}: the plan lists {plan.n_trainable:,} parameters to train but says "
            f"{document.get('n_trainable')!r}; the file was changed, make a new one with {command('modules')}"
        )
    return plan


def _read_yaml(path: Path) -> Mapping[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
        check_yaml(text, _MOST_VALUES)
        document = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except FileNotFoundError:
        raise StoreError(f"{path}: no such file; expected a plan of {command('modules')}") from None
    except OSError as error:
        raise StoreError(f"{path}: cannot be read as a plan: {error.strerror}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise StoreError(f"{path}: not a plan: {' '.join(str(error).split())}") from None
    if not isinstance(document, dict):
        raise StoreError(f"{path}: not a plan: it holds a YAML {type(document).__name__}, expected a mapping")
    if CHECKSUM in document and document[CHECKSUM] != _checksum(text):
        raise StoreError(
            f"{path}: what it holds differs from what was written: it is damaged, or was edited. Put the "
            f"right file back, or make a new one with {command('modules')}; if you edited it yourself, "
            f"remove its last line ({CHECKSUM!r})"
        )
    return document


def _checksum(text: str) -> str:
    """SHA-256 of a plan's lines before the last."""
    lines = text.splitlines(keepends=True)
    return sha256("".join(lines[:-1]).encode()).hexdigest()


def _plan(document: Mapping[str, Any]) -> Plan:
    held = document["neuron_set"]
    chosen = NeuronSet(
        name=held["name"],
        model=document["model"],
        layout_hash=document["layout_hash"],
        method=held["method"],
        sources=held["sources"],
        neurons=tuple(Neuron(str(m), int(layer), int(index)) for m, layer, index in held["neurons"]),
        scores=np.array(held["scores"], dtype=np.float64),
    )
    return Plan(
        model=document["model"],
        layout_hash=document["layout_hash"],
        neurons=chosen,
        settings=PlanSettings(**document["settings"]),
        n_parameters=int(document["n_parameters"]),
        ranking=tuple(dict(unit) for unit in document["ranking"]),
        train=tuple(Part.read(part) for part in document["train"]),
        freeze=tuple(document["freeze"]),
        linears=tuple(document["linears"]),
        peft=dict(document["peft"]),
    )
