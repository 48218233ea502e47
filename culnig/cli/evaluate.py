"""`culnig-engine evaluate`: a model unmasked, with neuron sets masked, and with random masks."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import click

from culnig.cli.evaluation_tables import print_results as print_results
from culnig.cli.options import (
    PATH,
    ModelChoice,
    check_option,
    defaults_of,
    item_options,
    model_options,
    out_options,
    prefix_sharing_option,
    prompt_date_option,
    resume_option,
    skip_too_long_option,
)
from culnig.cli.output import print_json, print_line
from culnig.cli.progress import progress_view
from culnig.core.processes import disconnect
from culnig.evaluation.conditions import Mask
from culnig.evaluation.evaluate import evaluate
from culnig.selection.random import Match


@defaults_of(evaluate)
@click.command("evaluate")
@model_options(spreads=True)
@item_options("test")
@click.option(
    "--neurons",
    "neuron_sets",
    multiple=True,
    help="Neuron-set file to mask, or CULTURE=FILE; may be given several times, each is a condition.",
)
@click.option(
    "--factor",
    "factors",
    type=float,
    multiple=True,
    help="0 suppresses, 2 enhances; several make a dose series.  [default: 0]",
)
@click.option(
    "--mask",
    type=click.Choice(get_args(Mask)),
    help="Scale activations by the factor, or replace them with their mean or with values from other "
    "prompts.",
)
@click.option(
    "--means",
    type=PATH,
    help="Run of this model (--level item or token) whose prompts give the means or the other values.",
)
@click.option(
    "--share",
    "shares",
    type=float,
    multiple=True,
    help="Mask only this share of each set, best neurons first; several make a dose series.",
)
@click.option("--dose", is_flag=True, help="Factors 0, 0.25, 0.5, 1, 1.5 and 2, unless --factor is given.")
@click.option(
    "--matrix", is_flag=True, help="Compare how each culture's set affects its own culture and the others."
)
@click.option(
    "--random-baseline",
    type=click.IntRange(min=0),
    help="Random sets of the same size to compare each neuron set with.",
)
@click.option(
    "--baseline-match",
    type=click.Choice(get_args(Match)),
    help="Match counts per module and layer, or only the total, as the paper does.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    help="Seed of the random sets (the first; the others follow), of --sample and of the tests' resamples.",
)
@click.option(
    "--max-new-tokens",
    type=click.IntRange(min=1),
    help="Maximum tokens of a written answer (blend-short).",
)
@prefix_sharing_option()
@skip_too_long_option()
@prompt_date_option()
@check_option()
@resume_option("evaluation")
@out_options("Evaluation folder to create.")
def command(
    model: ModelChoice,
    out: Path,
    as_json: bool,
    **options: Any,
) -> None:
    """Evaluate a model unmasked, with each neuron set masked, and with random neurons masked."""
    reports = model.reports
    with progress_view(quiet=not reports) as view:
        evaluation = evaluate(
            model.source,
            out=out,
            progress=view.progress,
            say=view.say,
            **model.options,
            **options,
        )
    disconnect()
    if not reports:
        return
    results = evaluation.results
    if as_json:
        tables = {name: results[name] for name in ("rows", "matrix", "dose") if name in results}
        warnings = [warning.record() for warning in evaluation.warnings]
        print_json({"evaluation": str(out), **tables, "warnings": warnings})
        return
    print_results(results)
    print_line(f"Written to {out}")
