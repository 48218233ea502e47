"""`culnig-engine validate`: does the method find culture neurons that are known?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from culnig.cli.evaluation_tables import print_matrix, print_rows
from culnig.cli.options import out_options
from culnig.cli.output import p_text, percent, print_json, print_line, print_table, print_warning
from culnig.cli.progress import progress_view
from culnig.core.quantities import number
from culnig.core.text import size_text
from culnig.validation.worlds import INVENTED, WORLDS

if TYPE_CHECKING:
    from culnig.validation.recovery import Recovery
    from culnig.validation.validate import Validation

EXIT_FAILED = 1


def _size(text: str, field: str) -> str:
    """A help text with each world's own size."""
    sizes = {name: getattr(kind.settings, field, None) for name, kind in WORLDS.items()}
    sizes_text = ", ".join(f"{name} {size}" for name, size in sizes.items() if size is not None)
    return f"{text}.  [default: {sizes_text}]"


@click.command("validate")
@click.option(
    "--world",
    type=click.Choice(list(WORLDS)),
    default=INVENTED,
    show_default=True,
    help="The model and items that methods are compared on; docs/validation.md describes each.",
)
@click.option(
    "--seed", type=int, default=0, show_default=True, help="Seed of facts, weights and planted sets."
)
@click.option("--cultures", type=int, help=_size("Number of cultures, 3 to 16", "cultures"))
@click.option("--questions", type=int, help=_size("Questions of each culture", "questions"))
@click.option(
    "--neurons-per-culture",
    type=int,
    help=_size("Planted neurons of each culture, and of the set that all share", "neurons_per_culture"),
)
@click.option("--layers", type=int, help=_size("Layers of the model", "layers"))
@click.option("--mlp-width", type=int, help=_size("MLP neurons of each layer", "mlp_width"))
@click.option(
    "--experts",
    type=int,
    help=_size("Experts that share the MLP neurons of a layer; each token goes to two of them", "experts"),
)
@out_options("Folder to keep: model, planted neuron sets, runs, results.json.", required=False)
def command(out: Path | None, as_json: bool, **settings: Any) -> int:
    """Make a model whose culture neurons are known, and see which methods find them.

    The world `invented` takes about a minute. Exit code 1 if a target of the world is missed.
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
    effects, before = validation.effects, validation.planted.before
    cultures = list(effects.known)
    rows: list[tuple[str, ...]] = []
    if before is not None:
        rows.append(("before learning", *(percent(before[key]) for key in cultures)))
    rows.append(("nothing", *(percent(effects.known[key]) for key in cultures)))
    rows += [(name, *(percent(row[key]) for key in cultures)) for name, row in effects.masked.items()]
    print_table(
        f"Accuracy with a planted set masked (chance {percent(effects.chance)})", ("masked", *cultures), rows
    )
    if validation.results:
        _print_methods(validation)
    if validation.finding is not None:
        _print_finding(validation.finding)
    _print_targets(validation)


def _print_methods(validation: Validation) -> None:
    results = validation.results
    print_table(
        f"Finding all {len(validation.planted.flat())} planted neurons (general)",
        ("method", *_HEADINGS),
        [(result.method.name, *_figures(result.general)) for result in results if result.method.is_general],
        optional=_OPTIONAL,
    )
    print_table(
        f"Finding the neurons of one culture (specific), mean over {len(validation.effects.cultures)}",
        ("method", *_HEADINGS),
        [(result.method.name, *_figures(result.specific)) for result in results],
        optional=_OPTIONAL,
    )
    print_table(
        "What a scorer costs",
        ("scorer", "passes", "seconds", "items", "memory"),
        [
            (name, cost.passes, cost.seconds, cost.n_timed, size_text(cost.memory))
            for name, cost in validation.costs.items()
        ],
    )
    if flattered := [result.method.name for result in results if validation.flattered(result)]:
        print_warning(
            f"the model knows {percent(validation.effects.known_share)} of the facts, less than what these "
            f"methods seem to find, so this world flatters them: {', '.join(flattered)}"
        )


def _print_finding(finding: dict[str, Any]) -> None:
    print_line(f"Selected: {finding['n_general']} general neurons")
    print_rows(finding["rows"])
    for rule, result in finding["by_rule"].items():
        counts = ", ".join(f"{culture} {number}" for culture, number in result["n_specific"].items())
        print_line(f"Neurons of each culture, preset {rule}: {counts}")
        for matrix in result["matrix"] or ():
            print_matrix(matrix)
    print_table(
        "Accuracy of each culture with its own neurons masked (preset paper)",
        ("culture", "items", "unmasked", "masked", "random", "rank p"),
        [_own_row(culture, *rows) for culture, rows in finding["own"].items()],
    )
    print_table(
        "Rank correlation of scores with exact effects (Spearman)",
        ("what", "neurons", "rho"),
        [(name, row["n"], row["rho"]) for name, row in finding["audit"].items()],
    )


def _own_row(
    culture: str, unmasked: dict[str, Any], masked: dict[str, Any], *random: dict[str, Any]
) -> tuple[Any, ...]:
    mean = sum(row["accuracy"] for row in random) / len(random)
    accuracies = (unmasked["accuracy"], masked["accuracy"], mean)
    rank = p_text(masked["against_random"]["accuracy"]["empirical_p"])
    return (culture, unmasked["n"], *map(percent, accuracies), rank)


def _print_targets(validation: Validation) -> None:
    print_table(
        "Targets",
        ("target", "value", "limit", "holds"),
        [
            (
                target.name,
                target.value,
                f"{'≥' if target.at_least else '≤'} {number(target.limit)}",
                "yes" if target.holds else "NO",
            )
            for target in validation.targets
        ],
    )


_HEADINGS = ("AP", "chance", "AP, all modules", "chance", "precision at k", "selected", "precision", "recall")
_OPTIONAL = ("AP, all modules", "precision at k", "selected")


def _figures(recovery: Recovery) -> tuple[Any, ...]:
    return (
        recovery.average_precision,
        recovery.chance_average_precision,
        recovery.average_precision_all,
        recovery.chance_average_precision_all,
        recovery.precision_at_k,
        recovery.selected,
        recovery.selected_precision,
        recovery.selected_recall,
    )
