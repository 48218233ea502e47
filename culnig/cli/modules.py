"""`culnig-engine modules`: which modules to fine-tune, by the culture neurons that they hold."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from culnig.cli.options import PATH, ModelChoice, model_options, out_options
from culnig.cli.output import Cell, percent, print_json, print_line, print_table

if TYPE_CHECKING:
    from culnig.training.plan import Plan

_SHOWN = 20
"""Units that are printed; the plan and --json hold all."""


@click.command("modules")
@click.argument("neurons", type=PATH)
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
    help="Modules with the most neurons, with the fewest, or random ones.",
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
    help="Train the chosen modules but not the weights of the neurons themselves (row masks).",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of --direction random.")
@model_options(required=False, reads_weights=False)
@out_options("Plan to write (YAML).")
def command(neurons: Path, model: ModelChoice | None, out: Path, as_json: bool, **settings: Any) -> None:
    """Rank modules by the culture neurons in them (NEURONS, a neuron-set file) and plan what to train.

    Only the model's configuration is read. The model is the one that the neuron set names, unless --model
    is given.
    """
    from culnig.training.plan import plan_training

    source, loading = (None, {}) if model is None else (model.source, model.options)
    plan = plan_training(neurons, source, out, **settings, **loading)
    if as_json:
        document = plan.document()
        names = ("model", "settings", "n_parameters", "n_trainable", "share", "n_neurons_in_chosen")
        print_json({"plan": str(out), **{name: document[name] for name in (*names, "ranking", "peft")}})
        return
    _print_plan(plan)
    print_line(f"Written to {out}")


def _print_plan(plan: Plan) -> None:
    settings = plan.settings
    rows: list[tuple[Cell, ...]] = [
        (
            rank,
            unit["unit"],
            unit["layer"],
            unit["neurons"],
            unit["score"],
            unit["parameters"],
            percent(unit["parameters"] / plan.n_parameters),
            "trained" if unit["chosen"] else "",
        )
        for rank, unit in enumerate(plan.ranking, start=1)
    ]
    more = f", the first {_SHOWN} of {len(rows)}" if len(rows) > _SHOWN else ""
    print_table(
        f"{settings.direction} by {settings.rank_by} of {plan.neurons.name!r}{more}",
        ("rank", "unit", "layer", "neurons", "score", "parameters", "share", "plan"),
        rows[:_SHOWN],
        optional=("rank", "share"),
    )
    kept = ", all but the neurons' own weights" if settings.keep_neurons else ""
    print_line(
        f"{len(plan.chosen)} of {len(plan.ranking)} units with {plan.n_neurons:,} of "
        f"{len(plan.neurons.neurons):,} neurons{kept}: {plan.n_trainable:,} of {plan.n_parameters:,} "
        f"parameters ({percent(plan.share)})"
    )
    if settings.direction == "bottom" and plan.n_neurons:
        print_line(
            f"These units hold {plan.n_neurons:,} of the neurons. A smaller --budget or a finer "
            "--granularity may avoid them; with --keep-neurons they are not trained."
        )
