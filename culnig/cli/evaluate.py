"""`culnig-engine evaluate`: a model with neurons masked, beside itself and beside random masks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from culnig import registry
from culnig.cli.evaluating import evaluate_into
from culnig.cli.evaluation_tables import print_doses, print_matrix, print_rows
from culnig.cli.model_options import ModelChoice, model_options
from culnig.cli.options import (
    item_options,
    json_option,
    overwrite_option,
    read_benchmarks,
    skip_too_long_option,
    without_too_long,
)
from culnig.cli.output import print_json, print_line
from culnig.cli.progress import progress_view
from culnig.core.items import SplitChoice
from culnig.selection.neuron_set import NeuronSet, read_neuron_set

if TYPE_CHECKING:
    from culnig.evaluation.conditions import Mask


@click.command("evaluate")
@model_options()
@item_options("test")
@click.option(
    "--neurons",
    "neuron_files",
    multiple=True,
    help="Neuron-set file to mask, or CULTURE=FILE; may be given several times, each is a condition.",
)
@click.option(
    "--factor",
    "factors",
    type=float,
    multiple=True,
    default=(0.0,),
    show_default=True,
    help="0 suppresses, 2 enhances; several make a dose series.",
)
@click.option(
    "--mask",
    type=click.Choice(["scale", "mean", "resample"]),
    default="scale",
    show_default=True,
    help="Scale activations by the factor, or replace them by their mean or by values of other prompts.",
)
@click.option(
    "--means",
    "means_folder",
    type=click.Path(path_type=Path),
    help="Run (--level item or token) of this model whose prompts give means and other values.",
)
@click.option(
    "--share",
    "shares",
    type=float,
    multiple=True,
    default=(1.0,),
    show_default=True,
    help="Mask only this share of each set, best neurons first; several make a dose series.",
)
@click.option("--dose", is_flag=True, help="Factors 0, 0.25, 0.5, 1, 1.5 and 2, unless --factor is given.")
@click.option(
    "--matrix", is_flag=True, help="Compare what each culture's set does to its own and the other cultures."
)
@click.option(
    "--random-baseline",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Random sets of the same size to compare each neuron set with.",
)
@click.option(
    "--baseline-match",
    type=click.Choice(["module", "total"]),
    default="module",
    show_default=True,
    help="Match counts per module and layer, or only the total, as the paper does.",
)
@click.option(
    "--max-new-tokens",
    type=click.IntRange(min=1),
    default=64,
    show_default=True,
    help="Most tokens of a written answer (blend-short).",
)
@click.option(
    "--no-prefix-sharing",
    is_flag=True,
    help="Compute every prompt whole, also where prompts begin alike.",
)
@skip_too_long_option()
@click.option("--resume", is_flag=True, help="Go on with an interrupted evaluation.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    help="Evaluation folder to make.",
)
@overwrite_option()
@json_option()
def command(
    model: ModelChoice,
    benchmarks: tuple[str, ...],
    data_dir: Path | None,
    split: SplitChoice,
    cultures: tuple[str, ...],
    limit: int | None,
    per_culture: int | None,
    token_budget: int,
    neuron_files: tuple[str, ...],
    factors: tuple[float, ...],
    mask: Mask,
    means_folder: Path | None,
    shares: tuple[float, ...],
    dose: bool,
    matrix: bool,
    random_baseline: int,
    baseline_match: Literal["module", "total"],
    max_new_tokens: int,
    no_prefix_sharing: bool,
    skip_too_long: bool,
    resume: bool,
    output: Path,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Evaluate a model as it is, with each neuron set masked, and with random neurons masked."""
    from culnig.evaluation.conditions import DOSE_FACTORS
    from culnig.evaluation.folder import prepare_evaluation_folder
    from culnig.evaluation.means import check_keeps_prompts
    from culnig.store.run import Run

    if random_baseline and not neuron_files:
        raise click.UsageError("--random-baseline needs a set to match: give --neurons FILE")
    if (dose or matrix) and not neuron_files:
        raise click.UsageError("--dose and --matrix need sets to mask: give --neurons FILE")
    if resume and overwrite:
        raise click.UsageError("--resume goes on, --overwrite begins anew; give one of them")
    if mask != "scale" and (dose or not _is_default("factors")):
        raise click.UsageError(f"--mask {mask} replaces activations: --factor and --dose do not go with it")
    if (mask == "scale") != (means_folder is None):
        raise click.UsageError("--mask mean and --mask resample need --means RUN, and no other mask does")
    if mask != "scale" and not neuron_files:
        raise click.UsageError(f"--mask {mask} needs sets to mask: give --neurons FILE")
    if dose and _is_default("factors"):
        factors = DOSE_FACTORS
    if matrix and len(factors) * len(shares) > 1:
        raise click.UsageError("--matrix compares one dose of each set; give one --factor and one --share")
    prepare_evaluation_folder(output, overwrite=overwrite, resume=resume)
    means = None if means_folder is None else Run(means_folder)
    if means is not None:
        check_keeps_prompts(means)
    sets = [read_set(text) for text in neuron_files]
    chosen = read_benchmarks(benchmarks, data_dir, split, cultures, limit, per_culture)
    with progress_view() as view:
        view.say(f"loading {model.source}")
        bound = model.load()
        if skip_too_long:
            chosen, skipped = without_too_long(bound, chosen)
            for name, n_items in skipped.items():
                view.say(f"{name}: {n_items} items are longer than the model allows and left out")
        results = evaluate_into(
            output,
            bound,
            chosen,
            sets,
            view,
            factor=factors,
            mask=mask,
            means=means,
            shares=shares,
            n_random=random_baseline,
            match=baseline_match,
            token_budget=token_budget,
            max_new_tokens=max_new_tokens,
            prefix_sharing=not no_prefix_sharing,
            matrix=matrix,
            resume=resume,
        )
    if as_json:
        tables = {name: results[name] for name in ("rows", "matrix", "dose") if name in results}
        print_json({"evaluation": str(output), **tables})
        return
    print_results(results)
    print_line(f"Written to {output}")


def _is_default(option: str) -> bool:
    source = click.get_current_context().get_parameter_source(option)
    return source is None or source.name == "DEFAULT"


def read_set(text: str) -> NeuronSet:
    """The set of a FILE or CULTURE=FILE; the culture given is the one its neurons are taken to be of."""
    culture, equals, file = text.partition("=")
    if not equals or Path(text).exists():
        return read_neuron_set(Path(text))
    registry.check_cultures([culture])
    found = read_neuron_set(Path(file))
    return replace(found, method={**found.method, "culture": culture})


def print_results(results: dict[str, Any]) -> None:
    """Print all tables of an evaluation."""
    print_rows(results["rows"])
    for matrix in results.get("matrix", ()):
        print_matrix(matrix)
    if results.get("dose"):
        print_doses(results["dose"])
