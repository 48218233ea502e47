"""`culnig-engine audit`: scores of selected neurons beside the exact effect of zeroing each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from culnig.cli.options import PATH, ModelChoice, item_options, json_option, model_options, prompt_date_option
from culnig.cli.output import print_json, print_line, print_table, print_warning
from culnig.cli.progress import progress_view
from culnig.core.processes import disconnect
from culnig.core.quantities import number
from culnig.core.text import counted

_SHOWN = 10


@click.command("audit")
@click.argument("neurons", type=PATH)
@model_options(spreads=True)
@item_options("identify")
@click.option(
    "--top",
    type=click.IntRange(min=2),
    default=20,
    show_default=True,
    help="Number of best neurons of the set, and of random ones.",
)
@click.option(
    "--aggregator",
    type=click.Choice(["max", "absmax", "sum", "mean", "last"]),
    default="max",
    show_default=True,
    help="The aggregator of the run that the set was selected from.",
)
@click.option(
    "--bound",
    is_flag=True,
    help="Zero up to 200 neurons that are not in the set too, and bound the largest effect that was missed.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Seed of the random neurons, of those for --bound, and of --sample.",
)
@prompt_date_option()
@json_option()
def command(neurons: Path, model: ModelChoice, as_json: bool, **options: Any) -> None:
    """Zero neurons one at a time and compare the effects with their scores.

    It takes the best neurons of the set and as many random ones from the same modules and layers.
    """
    from culnig.verification.audit import audit
    from culnig.verification.linearisation import LOW

    reports = model.reports
    with progress_view(quiet=not reports) as view:
        document = audit(
            neurons, model.source, progress=view.progress, say=view.say, **options, **model.options
        )
    disconnect()
    if not reports:
        return
    if document["low"]:
        rho = document["correlations"]["score, all"]["rho"]
        print_warning(
            f"scores and exact effects have a rank correlation of {number(rho)}, below {LOW:g}: "
            "for this model and benchmark the ranking says little about what zeroing a neuron does"
        )
    if as_json:
        print_json(document)
    else:
        _print(document)


def _print(document: dict[str, Any]) -> None:
    rows = document["neurons"]
    shown = sorted(rows, key=lambda row: -float(row["effect"]))[:_SHOWN]
    print_table(
        f"Largest effects of {len(rows)} neurons on {document['n_items']:,} items of "
        f"{counted(document['n_questions'], 'question')} (mean of P · change of P)",
        ("module", "layer", "index", "group", "score", "linear estimate", "effect"),
        [
            (
                *(row[key] for key in ("module", "layer", "index", "group")),
                *(f"{row[key]:.2e}" for key in ("score", "linear_estimate", "effect")),
            )
            for row in shown
        ],
    )
    print_table(
        "Rank correlation with the exact effect (Spearman, 95 % interval)",
        ("what", "neurons", "rho", "interval"),
        [
            (name, row["n"], number(row["rho"]), f"{number(row['low'])} to {number(row['high'])}")
            for name, row in document["correlations"].items()
        ],
    )
    if document["missed"] is not None:
        _print_missed(document["missed"])


def _print_missed(missed: dict[str, Any]) -> None:
    print_table(
        f"Not in the set: {missed['n_neurons']:,} neurons, {missed['n_zeroed']} of them zeroed, by score",
        ("neurons", "zeroed", "largest |effect|", "bound"),
        [
            (row["n_neurons"], row["n_zeroed"], f"{row['largest']:.2e}", number(row["bound"]))
            for row in missed["strata"]
        ],
    )
    if missed["bound"] is None:
        print_warning(
            "no bound: in one of the groups too few neurons have any effect to tell how effects are spread"
        )
    else:
        print_line(
            f"With {missed['level']:.0%} confidence no neuron outside the set has an effect above "
            f"{missed['bound']:.2e}, if the effects of similar scores have no heavier tail than "
            "docs/selection.md says."
        )
    print_line(
        f"Whatever their tail, at most {counted(missed['n_above'], 'neuron')} of them has an effect above "
        f"{missed['largest']:.2e}, the largest measured."
    )
