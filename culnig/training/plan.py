"""A training plan: which weights of a model are trained, and why, as one YAML file.

It holds the neurons it was made from, so that training needs no other file: plans of other directions, row
masks and drift are made from them. `train` lists each parameter that is trained, with rows where only some
are; `freeze` lists the parameters that stay as they are, and `peft` is the same plan in peft's terms.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml
from numpy.typing import NDArray

from culnig.errors import CulnigError, InputError, MismatchError, SelectionError, argument, command
from culnig.models.base import BoundModel
from culnig.models.named import model_without_weights
from culnig.models.settings import LoadOptions
from culnig.selection.neuron_set import NeuronSet, as_neuron_set
from culnig.store.files import CHECKSUM, write_text
from culnig.store.output_folder import check_file, owned_file
from culnig.training.ranking import Direction, Granularity, RankBy, Unit, ranked, units, within_budget
from culnig.training.weights import Part, Weights, joined

if TYPE_CHECKING:
    from typing_extensions import Unpack

FORMAT = "culnig-plan"
FORMAT_VERSION = 1
PLAN_FILE = "plan.yaml"
"""Name of the plan inside a trained model's folder."""


@dataclass(frozen=True)
class PlanSettings:
    """Settings of a plan, apart from the neurons."""

    budget: float = 0.1
    """Largest share of the model's parameters to train."""
    direction: Direction = "top"
    """`top`: the units with the most neurons; `bottom`: with the fewest; `random`: any."""
    granularity: Granularity = "mlp"
    """What is ranked: the MLP of a layer, a single module, or a whole layer."""
    rank_by: RankBy = "count"
    """Number of the neurons, or their summed score."""
    keep_neurons: bool = False
    """Whether the weights of the neurons themselves are not trained (row masks)."""
    seed: int = 0
    """Seed of `random`."""


@dataclass(frozen=True)
class Plan:
    """A training plan."""

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
    """Parameters that are not trained at all."""
    linears: tuple[str, ...]
    """Linear modules that are trained, by name."""
    peft: dict[str, Any] = field(default_factory=dict)
    """`target_modules` and `layers_to_transform` for peft."""

    @property
    def n_trainable(self) -> int:
        """Number of weights that are trained."""
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
        """MismatchError if the plan belongs to another model: other layers, or other parameters."""
        if bound.layout.hash != self.layout_hash:
            raise MismatchError(
                f"the plan was made for {self.model!r} (layout {self.layout_hash[:12]}), but "
                f"{bound.source!r} has layout {bound.layout.hash[:12]}; make a plan from neurons of this "
                "model with "
                f"{command('modules')}"
            )
        shapes = Weights(bound).shapes
        for part in self.train:
            shape = shapes.get(part.parameter)
            if shape != part.shape:
                raise MismatchError(
                    f"the plan trains {part.parameter} of shape {part.shape}, which in {bound.source!r} "
                    f"{'does not exist' if shape is None else f'has shape {shape}'}; make a new plan with "
                    f"{command('modules')}"
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
            "train": [part.document() for part in self.train],
            "freeze": list(self.freeze),
            "linears": list(self.linears),
            "neuron_set": _neurons_document(self.neurons),
        }

    def write(self, path: Path, *, overwrite: bool = False, inputs: Iterable[Any] = ()) -> None:
        """Write the file; OutputExistsError if it exists, InputError if it is one of the `inputs`."""
        text = self.text()
        with owned_file(path, overwrite=overwrite, inputs=inputs):
            write_text(path, f"{text}{CHECKSUM}: {sha256(text.encode()).hexdigest()}\n")

    def text(self) -> str:
        """The file's text, one line for each row of a table."""
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


def plan_training(
    neurons: NeuronSet | Path | str,
    model: str | Path | BoundModel | None = None,
    out: Path | str | None = None,
    *,
    budget: float = 0.1,
    direction: Direction = "top",
    granularity: Granularity = "mlp",
    rank_by: RankBy = "count",
    keep_neurons: bool = False,
    seed: int = 0,
    overwrite: bool = False,
    **loading: Unpack[LoadOptions],
) -> Plan:
    """Rank modules by the culture neurons in them and plan which to fine-tune (the command `modules`).

    Only the model's configuration is read; if `model` is None, the model is the one that the neuron set
    names. The keywords are the fields of `PlanSettings` and, where `model` is a name, of `LoadSettings`. With
    `out` the plan is written. OutputExistsError, SelectionError and MismatchError as in `make_plan` and
    `Plan.write`.
    """
    settings = PlanSettings(budget, direction, granularity, rank_by, keep_neurons, seed)
    inputs = (neurons, model)
    if out is not None:
        check_file(Path(out), overwrite=overwrite, inputs=inputs)
    chosen = as_neuron_set(neurons)
    plan = make_plan(_skeleton(model, chosen, loading), chosen, settings)
    if out is not None:
        plan.write(Path(out), overwrite=overwrite, inputs=inputs)
    return plan


def _skeleton(model: str | Path | BoundModel | None, chosen: NeuronSet, loading: LoadOptions) -> BoundModel:
    if model is not None:
        return model_without_weights(model, **loading)
    try:
        return model_without_weights(chosen.model, **loading)
    except CulnigError as error:
        raise InputError(
            f"the neuron set names its model {chosen.model!r}, which cannot be read ({error.args[0]}); give "
            f"its path or name with {argument('model')}"
        ) from None


def make_plan(bound: BoundModel, chosen: NeuronSet, settings: PlanSettings) -> Plan:
    """Rank the units and take those that fit the budget; the model may be a skeleton.

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
    """The plan for the same neurons with other settings."""
    return make_plan(bound, plan.neurons, replace(plan.settings, **changes))


def _without_neurons(train: Sequence[Part], weights: Weights, flat: NDArray[np.int64]) -> list[Part]:
    parts = {part.parameter: part for part in train}
    for rows in weights.of_neurons(flat):
        name, indices = rows.part.parameter, rows.part.indices
        if name in parts and indices is not None:
            parts[name] = parts[name].without(rows.part.axis, indices, rows.part.by_expert)
    left = [part for part in parts.values() if part.n_parameters]
    if not left:
        raise SelectionError(
            "nothing is left to train: the chosen units hold only neurons to keep; give a larger "
            f"{argument('budget')}"
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
    """Short names and layers if they name exactly the modules that are trained, else full names."""
    parsed = {name: match for name in modules if (match := _NUMBERED.fullmatch(name))}
    trained = [parsed[name] for name in linears if name in parsed]
    kinds = {match["kind"] for match in trained}
    layers = {int(match["layer"]) for match in trained}
    matching = {
        name for name, match in parsed.items() if match["kind"] in kinds and int(match["layer"]) in layers
    }
    if matching == set(linears):
        return {"target_modules": sorted(kinds), "layers_to_transform": sorted(layers)}
    return {"target_modules": list(linears), "layers_to_transform": None}


_NUMBERED = re.compile(r"(?P<stack>[^0-9]+)\.(?P<layer>\d+)\.(?P<kind>.+)")


def _neurons_document(chosen: NeuronSet) -> dict[str, Any]:
    return {
        "name": chosen.name,
        "method": chosen.method,
        "sources": chosen.sources,
        "neurons": [list(neuron) for neuron in chosen.neurons],
        "scores": chosen.scores.tolist(),
    }
