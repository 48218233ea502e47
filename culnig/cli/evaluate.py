"""`culnig-engine evaluate`: a model with neurons masked, beside itself and beside random masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from culnig import registry
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
from culnig.cli.progress import ProgressView, progress_view
from culnig.items import NO_CULTURE, ChosenItems, SplitChoice
from culnig.selection.neuron_set import NeuronSet, read_neuron_set

if TYPE_CHECKING:
    from culnig.bound import BoundModel
    from culnig.evaluation.conditions import Condition, Mask
    from culnig.evaluation.runner import Answers
    from culnig.store.run import Run


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


def evaluate_into(
    folder: Path,
    bound: BoundModel,
    chosen: dict[str, ChosenItems],
    sets: Sequence[NeuronSet],
    view: ProgressView,
    *,
    factor: float | Sequence[float],
    n_random: int,
    match: Literal["module", "total"],
    token_budget: int,
    mask: Mask = "scale",
    means: Run | None = None,
    shares: Sequence[float] = (1.0,),
    max_new_tokens: int = 64,
    prefix_sharing: bool = True,
    matrix: bool = False,
    resume: bool = False,
) -> dict[str, Any]:
    """Run all conditions with progress, write the evaluation folder, return its `results.json`."""
    from culnig.evaluation.conditions import make_conditions
    from culnig.evaluation.folder import read_results, write_evaluation
    from culnig.evaluation.masks import Replacements
    from culnig.evaluation.matrix import check_present, masks_by_culture
    from culnig.evaluation.means import stored_prompts
    from culnig.evaluation.parts import EvaluationParts
    from culnig.evaluation.runner import run_conditions
    from culnig.evaluation.short_answers import AnswerJudge
    from culnig.extraction.run import describe_model, versions

    judge = AnswerJudge()
    judge.load([item for those in chosen.values() for item in those.items if item.accepted])
    conditions = make_conditions(
        sets, bound.layout, factor=factor, shares=shares, n_random=n_random, match=match, mask=mask
    )
    prompts = None if means is None else stored_prompts(means, bound)
    masks = masks_by_culture(conditions) if matrix else None
    if masks is not None:
        cultural = [name for name, those in chosen.items() if _is_cultural(those)]
        check_present(masks, cultural, {item.culture for n in cultural for item in chosen[n].items})
    record = {
        "model": describe_model(bound),
        "neuron_sets": [
            {
                "name": chosen_set.name,
                "n_neurons": len(chosen_set.neurons),
                "neurons_hash": sha256(chosen_set.flat(bound.layout).tobytes()).hexdigest(),
                "method": chosen_set.method,
            }
            for chosen_set in sets
        ],
        "settings": {
            "factor": factor if isinstance(factor, int | float) else list(factor),
            "mask": mask,
            "means": None if means is None else {"run": means.run_id, "prompts": len(prompts or ())},
            "shares": list(shares),
            "random_baseline": n_random,
            "baseline_match": match,
            "token_budget": token_budget,
            "max_new_tokens": max_new_tokens,
            "prefix_sharing": prefix_sharing,
            "matrix": matrix,
        },
        "lemmatizers": judge.tools,
        "benchmarks": {
            name: {**those.record(), "cultural": _is_cultural(those)} for name, those in chosen.items()
        },
        "versions": versions(),
    }
    parts = EvaluationParts.open(folder, record, list(chosen), conditions, resume=resume)
    if parts.finished:
        return read_results(folder)
    for name, those in chosen.items():
        view.add(f"evaluate {name}, {len(conditions)} conditions", len(those.items) * len(conditions))
    replacements = None
    if prompts is not None:
        view.say(f"activations in {len(prompts)} prompts of {means.folder if means else ''}")
        replacements = Replacements.of(bound, prompts, conditions, token_budget=token_budget)
    answers = run_conditions(
        bound,
        {name: those.items for name, those in chosen.items()},
        conditions,
        token_budget=token_budget,
        max_new_tokens=max_new_tokens,
        judge=judge,
        prefix_sharing=prefix_sharing,
        replacements=replacements,
        parts=parts,
        say=view.say,
        after_batch=lambda name, condition, n_items: view.advance(
            f"evaluate {name}, {len(conditions)} conditions", n_items
        ),
    )
    for line in lemmatizer_lines(judge.tools):
        view.say(line)
    tables = _tables(answers, record, conditions, masks)
    write_evaluation(folder, {**record, **tables}, tables["rows"], answers, conditions)
    parts.clear()
    return read_results(folder)


def _is_cultural(chosen: ChosenItems) -> bool:
    return any(item.culture != NO_CULTURE for item in chosen.items)


def _tables(
    answers: Answers,
    record: dict[str, Any],
    conditions: Sequence[Condition],
    masks: dict[str, str] | None,
) -> dict[str, Any]:
    """Rows of an evaluation, and its matrix and doses where asked for."""
    from culnig.evaluation.dose import dose_table
    from culnig.evaluation.matrix import selectivity
    from culnig.evaluation.results import metrics_of, result_rows

    benchmarks = list(record["benchmarks"])
    cultural = [name for name in benchmarks if record["benchmarks"][name]["cultural"]]
    tables: dict[str, Any] = {"rows": result_rows(answers, benchmarks, conditions)}
    if masks is not None:
        related = {key: culture.related for key, culture in registry.cultures().items()}
        have = [set(metrics_of(answers[name, conditions[0].name])) for name in cultural]
        tables["matrix"] = [
            selectivity(answers, cultural, masks, related, metric=metric).document()
            for metric in ("accuracy", "option_accuracy", "confidence")
            if all(metric in names for names in have)
        ]
    if len({(condition.factor, condition.share) for condition in conditions if condition.of_set}) > 1:
        tables["dose"] = [asdict(dose) for dose in dose_table(tables["rows"], cultural)]
    return tables


def lemmatizer_lines(tools: dict[str, dict[str, Any]]) -> list[str]:
    """Which lemmatizer judged the short answers of each language."""
    return [
        f"short answers in {language}: {tool['lemmatizer']} ({tool['package']} {tool['version']})"
        + (f", not installed: {', '.join(tool['missing'])}" if tool["missing"] else "")
        for language, tool in sorted(tools.items())
    ]
