"""`culnig-engine modules`: which modules to fine-tune, by the culture neurons that they hold."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from culnig import registry
from culnig.cli.model_options import ModelChoice, model_options
from culnig.cli.output import Cell, print_json, print_line, print_table
from culnig.cli.selected import output_options
from culnig.errors import CulnigError, InputError
from culnig.selection.neuron_set import NeuronSet, read_neuron_set
from culnig.store.output_folder import check_file

if TYPE_CHECKING:
    from culnig.models.base import BoundModel
    from culnig.training.plan import Plan

_SHOWN = 20
"""Units that are printed; the plan and --json hold all."""


@click.command("modules")
@click.argument("neurons", type=click.Path(path_type=Path))
@click.option(
    "--budget",
    type=float,
    default=0.1,
    show_default=True,
    help="Largest share of the model's parameters to train.",
)
@click.option(
    "--direction",
    type=click.Choice(["top", "bottom", "random"]),
    default="top",
    show_default=True,
    help="Modules with most of the neurons, with fewest, or any.",
)
@click.option(
    "--granularity",
    type=click.Choice(["mlp", "module", "layer"]),
    default="mlp",
    show_default=True,
    help="What is ranked: the MLP of each layer, each module, or each layer.",
)
@click.option(
    "--rank-by",
    type=click.Choice(["count", "score"]),
    default="count",
    show_default=True,
    help="Number of neurons, or their summed score; the other breaks ties.",
)
@click.option(
    "--keep-neurons",
    is_flag=True,
    help="Train the chosen modules but for the weights of the neurons themselves (row masks).",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of --direction random.")
@model_options(required=False)
@output_options("Plan to write (YAML).")
def command(
    neurons: Path,
    model: ModelChoice | None,
    output: Path,
    overwrite: bool,
    as_json: bool,
    **settings: Any,
) -> None:
    """Rank modules by the culture neurons in them (NEURONS, a neuron-set file) and plan what to train.

    Only the configuration of the model is read, that of the neuron set's model unless --model names
    another place.
    """
    from culnig.training.plan import PlanSettings, make_plan

    check_file(output, overwrite=overwrite)
    chosen = read_neuron_set(neurons)
    plan = make_plan(_skeleton(model, chosen), chosen, PlanSettings(**settings))
    plan.write(output, overwrite=overwrite)
    if as_json:
        document = plan.document()
        more = ("model", "settings", "n_parameters", "n_trainable", "share", "n_neurons_in_chosen", "ranking")
        print_json({"plan": str(output), **{name: document[name] for name in (*more, "peft")}})
        return
    print_plan(plan)
    print_line(f"Written to {output}")


def _skeleton(model: ModelChoice | None, chosen: NeuronSet) -> BoundModel:
    if model is not None:
        return model.skeleton().bound
    from culnig.models.loading import load_skeleton

    try:
        return load_skeleton(chosen.model, registry.adapters()).bound
    except CulnigError as error:
        raise InputError(
            f"the neuron set names its model {chosen.model!r}, which cannot be read ({error}); say where it "
            "is with --model"
        ) from None


def print_plan(plan: Plan) -> None:
    """Print the ranking and what of it is trained."""
    settings = plan.settings
    rows: list[tuple[Cell, ...]] = [
        (
            place + 1,
            unit["unit"],
            unit["layer"],
            unit["neurons"],
            unit["score"],
            unit["parameters"],
            f"{100 * unit['parameters'] / plan.n_parameters:.2f} %",
            "trained" if unit["chosen"] else "",
        )
        for place, unit in enumerate(plan.ranking)
    ]
    more = f", the first {_SHOWN} of {len(rows)}" if len(rows) > _SHOWN else ""
    print_table(
        f"{settings.direction} by {settings.rank_by} of {plan.neurons.name!r}{more}",
        ("rank", "unit", "layer", "neurons", "score", "parameters", "share", "plan"),
        rows[:_SHOWN],
    )
    kept = ", all but the neurons' own weights" if settings.keep_neurons else ""
    print_line(
        f"{len(plan.chosen)} of {len(plan.ranking)} units with {plan.n_neurons:,} of "
        f"{len(plan.neurons.neurons):,} neurons{kept}: {plan.n_trainable:,} of {plan.n_parameters:,} "
        f"parameters ({100 * plan.share:.2f} %)"
    )
    if settings.direction == "bottom" and plan.n_neurons:
        print_line(
            f"These units are not free of the neurons: {plan.n_neurons:,} lie in them. A smaller --budget or "
            "a finer --granularity may avoid them; --keep-neurons leaves them as they are."
        )
