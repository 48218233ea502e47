"""A training plan: which weights of a model are trained, and why, as one YAML file.

It carries the neurons it was made from, so that training needs no other file: plans of other directions, row
masks and drift are made from them. What is trained is listed parameter by parameter (`train`), with rows
where only some are; `freeze` lists what is left alone as a whole, and `peft` says the same to peft.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from culnig.core.neurons import Neuron
from culnig.errors import MismatchError, SelectionError, StoreError
from culnig.models.base import BoundModel
from culnig.selection.neuron_set import NeuronSet
from culnig.store.files import make_folder, whole_file
from culnig.store.output_folder import check_file
from culnig.training.ranking import Direction, Granularity, RankBy, Unit, ranked, units, within_budget
from culnig.training.weights import Part, Weights, joined

FORMAT = "culnig-plan"
FORMAT_VERSION = 1
PLAN_FILE = "plan.yaml"
"""Name of the plan inside a trained model's folder."""


@dataclass(frozen=True)
class PlanSettings:
    """What decides a plan, beside the neurons."""

    budget: float = 0.1
    """Largest share of the model's parameters to train."""
    direction: Direction = "top"
    """`top`: the units with most of the neurons; `bottom`: with fewest; `random`: any."""
    granularity: Granularity = "mlp"
    """What is ranked: the MLP of a layer, a single module, or a whole layer."""
    rank_by: RankBy = "count"
    """Number of the neurons, or their summed score."""
    keep_neurons: bool = False
    """Whether the weights of the neurons themselves stay as they are (row masks)."""
    seed: int = 0
    """Seed of `random`."""


@dataclass(frozen=True)
class Plan:
    """What is trained."""

    model: str
    layout_hash: str
    neurons: NeuronSet
    settings: PlanSettings
    n_parameters: int
    """Of the whole model."""
    ranking: tuple[dict[str, Any], ...]
    """Every unit in the order of the ranking: name, layer, neurons, score, parameters, chosen."""
    train: tuple[Part, ...]
    freeze: tuple[str, ...]
    """Parameters that are left alone as a whole."""
    linears: tuple[str, ...]
    """Linear modules that are trained, by name."""
    peft: dict[str, Any] = field(default_factory=dict)
    """`target_modules` and `layers_to_transform` for peft."""

    @property
    def n_trainable(self) -> int:
        """Numbers that are trained."""
        return sum(part.n_parameters for part in self.train)

    @property
    def share(self) -> float:
        """Their share of the model."""
        return self.n_trainable / self.n_parameters

    @property
    def chosen(self) -> list[dict[str, Any]]:
        """The units that are trained, in order."""
        return [unit for unit in self.ranking if unit["chosen"]]

    @property
    def n_neurons(self) -> int:
        """Selected neurons in the units that are trained."""
        return sum(unit["neurons"] for unit in self.chosen)

    def check(self, bound: BoundModel) -> None:
        """MismatchError where the plan is another model's: other layers, or other parameters."""
        if bound.layout.hash != self.layout_hash:
            raise MismatchError(
                f"the plan was made for {self.model!r} (layout {self.layout_hash[:12]}), {bound.source!r} "
                f"has layout {bound.layout.hash[:12]}; make a plan from neurons of this model with "
                "`culnig-engine modules`"
            )
        shapes = Weights(bound).shapes
        for part in self.train:
            if shapes.get(part.parameter) != part.shape:
                there = shapes.get(part.parameter)
                raise MismatchError(
                    f"the plan trains {part.parameter} of shape {part.shape}, which in {bound.source!r} "
                    f"{'is not there' if there is None else f'has shape {there}'}; make the plan anew with "
                    "`culnig-engine modules`"
                )

    def document(self) -> dict[str, Any]:
        """As the file holds it."""
        return {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "model": self.model,
            "layout_hash": self.layout_hash,
            "settings": asdict(self.settings),
            "n_parameters": self.n_parameters,
            "n_trainable": self.n_trainable,
            "share": round(self.share, 6),
            "n_neurons_in_chosen": self.n_neurons,
            "ranking": list(self.ranking),
            "peft": self.peft,
            "train": [_part_document(part) for part in self.train],
            "freeze": list(self.freeze),
            "linears": list(self.linears),
            "neuron_set": _neurons_document(self.neurons),
        }

    def write(self, path: Path, *, overwrite: bool = False) -> None:
        """Write the file; OutputExistsError where it exists."""
        check_file(path, overwrite=overwrite)
        make_folder(path.parent)
        with whole_file(path) as temporary:
            temporary.write_text(self.text(), encoding="utf-8")

    def text(self) -> str:
        """The file's text; rows of tables take a line each."""
        return str(
            yaml.dump(
                self.document(),
                Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper),
                sort_keys=False,
                allow_unicode=True,
                default_flow_style=None,
                width=120,
            )
        )


def make_plan(bound: BoundModel, chosen: NeuronSet, settings: PlanSettings) -> Plan:
    """Rank, fill the budget and say what is trained; the model may be a skeleton.

    SelectionError for an empty set and a budget that fits nothing, MismatchError for another model's set.
    """
    if not chosen.neurons:
        raise SelectionError(f"neuron set {chosen.name!r} is empty; select with larger fractions")
    weights = Weights(bound)
    order = ranked(
        units(bound, weights, chosen, settings.granularity),
        settings.direction,
        settings.rank_by,
        settings.seed,
    )
    taken = within_budget(order, settings.budget, weights.n_parameters)
    train = joined(part for unit in taken for part in unit.parts)
    if settings.keep_neurons:
        train = _without_neurons(train, weights, chosen.flat(bound.layout))
    touched = {part.parameter for part in train}
    linears = weights.linear_names(part.parameter for part in train)
    return Plan(
        model=bound.source,
        layout_hash=bound.layout.hash,
        neurons=chosen,
        settings=settings,
        n_parameters=weights.n_parameters,
        ranking=tuple(_unit_document(unit, unit in taken) for unit in order),
        train=tuple(train),
        freeze=tuple(name for name in weights.shapes if name not in touched),
        linears=tuple(linears),
        peft=_peft(linears, [name for name, _ in bound.model.named_modules()]),
    )


def with_direction(bound: BoundModel, plan: Plan, **changes: Any) -> Plan:
    """The plan that other settings would give for the same neurons."""
    return make_plan(bound, plan.neurons, replace(plan.settings, **changes))


def _without_neurons(train: Sequence[Part], weights: Weights, flat: NDArray[np.int64]) -> list[Part]:
    parts = {part.parameter: part for part in train}
    for rows in weights.of_neurons(flat):
        name, places = rows.part.parameter, rows.part.places
        if name in parts and places is not None:
            parts[name] = parts[name].without(rows.part.axis, places)
    left = [part for part in parts.values() if part.n_parameters]
    if not left:
        raise SelectionError(
            "nothing is left to train: the neurons to keep are all that the chosen units hold; give a larger "
            "--budget"
        )
    return left


def _unit_document(unit: Unit, chosen: bool) -> dict[str, Any]:
    return {
        "unit": unit.name,
        "layer": unit.layer,
        "neurons": unit.n_neurons,
        "score": float(unit.score),
        "parameters": unit.n_parameters,
        "chosen": chosen,
    }


def _peft(linears: Sequence[str], modules: Sequence[str]) -> dict[str, Any]:
    """Short names and layers where these say exactly what is trained among all modules, else full names."""
    own = [found for name in linears if (found := _NUMBERED.fullmatch(name))]
    kinds = {found["kind"] for found in own}
    layers = {int(found["layer"]) for found in own}
    meant = {
        name
        for name in modules
        if (found := _NUMBERED.fullmatch(name)) and found["kind"] in kinds and int(found["layer"]) in layers
    }
    if meant == set(linears):
        return {"target_modules": sorted(kinds), "layers_to_transform": sorted(layers)}
    return {"target_modules": list(linears), "layers_to_transform": None}


_NUMBERED = re.compile(r"(?P<stack>[^0-9]+)\.(?P<layer>\d+)\.(?P<kind>.+)")


def _part_document(part: Part) -> dict[str, Any]:
    document: dict[str, Any] = {"parameter": part.parameter, "shape": list(part.shape)}
    if part.places is not None:
        document |= {"axis": part.axis, "places": ranges_text(part.places)}
    return document


def _neurons_document(chosen: NeuronSet) -> dict[str, Any]:
    return {
        "name": chosen.name,
        "method": chosen.method,
        "sources": chosen.sources,
        "neurons": [list(neuron) for neuron in chosen.neurons],
        "scores": chosen.scores.tolist(),
    }


def ranges_text(places: NDArray[np.int64]) -> str:
    """Ascending numbers as text: `0-3,7`."""
    runs = np.split(places, np.flatnonzero(np.diff(places) != 1) + 1)
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else f"{run[0]}" for run in runs if len(run))


def parse_ranges(text: str) -> NDArray[np.int64]:
    """The way back from `ranges_text`; ValueError for any other text."""
    ends = [[int(end) for end in run.split("-")] for run in text.split(",")]
    places = list(itertools.chain.from_iterable(range(run[0], run[-1] + 1) for run in ends))
    if not places or any(a >= b for a, b in itertools.pairwise(places)):
        raise ValueError(f"{text!r} are no ascending ranges")
    return np.array(places, dtype=np.int64)


def read_plan(path: Path) -> Plan:
    """Read a plan; StoreError where it is missing, foreign, damaged or empty."""
    document = _read_yaml(path)
    if document.get("format") != FORMAT:
        raise StoreError(f"{path}: format is {document.get('format')!r}, expected {FORMAT!r}")
    if document.get("format_version") != FORMAT_VERSION:
        raise StoreError(
            f"{path}: format version {document.get('format_version')}, this culnig reads {FORMAT_VERSION}"
        )
    try:
        plan = _plan(document)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise StoreError(f"{path}: {type(error).__name__} {error} in a plan; the file is damaged") from None
    if not plan.train:
        raise StoreError(f"{path}: the plan is empty: it trains nothing; make one with a larger --budget")
    if plan.n_trainable != document.get("n_trainable"):
        raise StoreError(
            f"{path}: the plan lists {plan.n_trainable:,} parameters to train but says "
            f"{document.get('n_trainable')!r}; the file was changed, make it anew with `culnig-engine "
            "modules`"
        )
    return plan


def _read_yaml(path: Path) -> Mapping[str, Any]:
    try:
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        document = yaml.load(path.read_text(encoding="utf-8"), Loader=loader)
    except FileNotFoundError:
        raise StoreError(f"{path}: no such file; expected a plan of `culnig-engine modules`") from None
    except OSError as error:
        raise StoreError(f"{path}: cannot be read as a plan: {error.strerror}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise StoreError(f"{path}: not a plan: {' '.join(str(error).split())}") from None
    if not isinstance(document, dict):
        raise StoreError(f"{path}: not a plan: a YAML {type(document).__name__}, expected a mapping")
    return document


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
    parts = [
        Part(
            one["parameter"],
            tuple(map(int, one["shape"])),
            int(one.get("axis", 0)),
            parse_ranges(str(one["places"])) if "places" in one else None,
        )
        for one in document["train"]
    ]
    for part in parts:
        if part.places is not None and part.places[-1] >= part.shape[part.axis]:
            raise ValueError(f"place {part.places[-1]} of {part.parameter} is beyond its shape {part.shape}")
    return Plan(
        model=document["model"],
        layout_hash=document["layout_hash"],
        neurons=chosen,
        settings=PlanSettings(**document["settings"]),
        n_parameters=int(document["n_parameters"]),
        ranking=tuple(dict(unit) for unit in document["ranking"]),
        train=tuple(parts),
        freeze=tuple(document["freeze"]),
        linears=tuple(document["linears"]),
        peft=dict(document["peft"]),
    )
