"""`culnig-engine validate`: does the method find culture neurons that are known?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from culnig.cli.options import out_options
from culnig.cli.output import percent, print_json, print_line, print_table
from culnig.cli.progress import progress_view

if TYPE_CHECKING:
    from culnig.validation.recovery import Recovery
    from culnig.validation.validate import Validation

EXIT_FAILED = 1


@click.command("validate")
@click.option(
    "--seed", type=int, default=0, show_default=True, help="Seed of facts, weights and planted sets."
)
@click.option("--cultures", type=int, default=8, show_default=True, help="Number of cultures, 3 to 16.")
@click.option("--questions", type=int, default=24, show_default=True, help="Questions of each culture.")
@click.option(
    "--neurons-per-culture",
    type=int,
    default=16,
    show_default=True,
    help="Planted neurons of each culture, and of the set that all share.",
)
@click.option("--layers", type=int, default=4, show_default=True, help="Layers of the model.")
@click.option("--mlp-width", type=int, default=256, show_default=True, help="MLP neurons of each layer.")
@click.option(
    "--experts",
    type=int,
    default=1,
    show_default=True,
    help="Experts that share the MLP neurons of a layer; each token goes to two of them.",
)
@out_options("Folder to keep: model, planted neuron sets, runs, results.json.", required=False)
def command(out: Path | None, as_json: bool, **settings: Any) -> int:
    """Train a tiny model with planted culture neurons and see which methods find them.

    It takes about a minute. Exit code 1 if the method misses a target.
    """
    from culnig.validation.validate import validate

    with progress_view() as view:
        validation = validate(out=out, progress=view.progress, say=view.say, **settings)
    if as_json:
        print_json(validation.document())
    else:
        _print(validation)
        if out is not None:
            print_line(f"Kept in {out}: model/, planted/, run/, results.json")
    return 0 if validation.holds else EXIT_FAILED


def _print(validation: Validation) -> None:
    effects = validation.effects
    cultures = list(effects.known)
    rows: list[tuple[str, ...]] = [("nothing", *(percent(effects.known[key]) for key in cultures))]
    rows += [(name, *(percent(row[key]) for key in cultures)) for name, row in effects.masked.items()]
    print_table(
        f"Accuracy with a planted set masked (chance {percent(effects.chance)})", ("masked", *cultures), rows
    )
    results = validation.results
    print_table(
        f"Finding all {validation.planted.settings.n_planted} planted neurons (general)",
        ("method", *_HEADINGS),
        [
            (result.method.name, *_figures(result.general))
            for result in results
            if not (result.method.z or result.method.margin)
        ],
    )
    print_table(
        f"Finding the {validation.planted.settings.neurons_per_culture} of one culture (specific), mean over "
        f"{validation.planted.settings.cultures}",
        ("method", *_HEADINGS),
        [(result.method.name, *_figures(result.specific)) for result in results],
    )
    print_table(
        "Targets",
        ("target", "value", "limit", "holds"),
        [
            (
                target.name,
                target.value,
                f"{'≥' if target.at_least else '≤'} {target.limit:.4f}",
                "yes" if target.holds else "NO",
            )
            for target in validation.targets
        ],
    )


_HEADINGS = ("AP", "AP, all modules", "precision at k", "selected", "precision", "recall", "chance")


def _figures(recovery: Recovery) -> tuple[Any, ...]:
    return (
        recovery.average_precision,
        recovery.average_precision_all,
        recovery.precision_at_k,
        f"{recovery.selected:.1f}",
        recovery.selected_precision,
        recovery.selected_recall,
        recovery.chance,
    )
