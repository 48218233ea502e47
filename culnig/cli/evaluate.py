"""`culnig-engine evaluate`: a model with neurons masked, beside itself and beside random masks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from culnig.cli.model_options import ModelChoice, model_options
from culnig.cli.options import (
    item_options,
    json_option,
    overwrite_option,
    read_benchmarks,
    skip_too_long_option,
    without_too_long,
)
from culnig.cli.output import p_text, percent, print_json, print_line, print_table
from culnig.cli.progress import ProgressView, progress_view
from culnig.items import ChosenItems, SplitChoice
from culnig.selection.neuron_set import NeuronSet, read_neuron_set

if TYPE_CHECKING:
    from culnig.bound import BoundModel

METRIC_HEADINGS = {
    "accuracy": "accuracy",
    "option_accuracy": "option acc.",
    "confidence": "P(gold)",
    "option_mass": "option mass",
    "alignment": "alignment",
}


@click.command("evaluate")
@model_options()
@item_options("test")
@click.option(
    "--neurons",
    "neuron_files",
    type=click.Path(path_type=Path),
    multiple=True,
    help="Neuron-set file to mask; may be given several times, each is a condition.",
)
@click.option("--factor", type=float, default=0.0, show_default=True, help="0 suppresses, 2 enhances.")
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
@skip_too_long_option()
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
    neuron_files: tuple[Path, ...],
    factor: float,
    random_baseline: int,
    baseline_match: Literal["module", "total"],
    max_new_tokens: int,
    skip_too_long: bool,
    output: Path,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Evaluate a model as it is, with each neuron set masked, and with random neurons masked."""
    from culnig.evaluation.folder import prepare_evaluation_folder

    if random_baseline and not neuron_files:
        raise click.UsageError("--random-baseline needs a set to match: give --neurons FILE")
    prepare_evaluation_folder(output, overwrite=overwrite)
    sets = [read_neuron_set(path) for path in neuron_files]
    chosen = read_benchmarks(benchmarks, data_dir, split, cultures, limit, per_culture)
    with progress_view() as view:
        view.say(f"loading {model.source}")
        bound = model.load()
        if skip_too_long:
            chosen, skipped = without_too_long(bound, chosen)
            for name, n_items in skipped.items():
                view.say(f"{name}: {n_items} items are longer than the model allows and left out")
        rows = evaluate_into(
            output,
            bound,
            chosen,
            sets,
            view,
            factor=factor,
            n_random=random_baseline,
            match=baseline_match,
            token_budget=token_budget,
            max_new_tokens=max_new_tokens,
        )
    if as_json:
        print_json({"evaluation": str(output), "rows": rows})
        return
    print_rows(rows)
    print_line(f"Written to {output}")


def evaluate_into(
    folder: Path,
    bound: BoundModel,
    chosen: dict[str, ChosenItems],
    sets: Sequence[NeuronSet],
    view: ProgressView,
    *,
    factor: float,
    n_random: int,
    match: Literal["module", "total"],
    token_budget: int,
    max_new_tokens: int = 64,
) -> list[dict[str, Any]]:
    """Run all conditions with progress, write the evaluation folder, return its rows."""
    from culnig.evaluation.conditions import make_conditions
    from culnig.evaluation.folder import write_evaluation
    from culnig.evaluation.results import result_rows
    from culnig.evaluation.runner import run_conditions
    from culnig.evaluation.short_answers import AnswerJudge
    from culnig.extraction.run import describe_model, versions

    judge = AnswerJudge()
    conditions = make_conditions(sets, bound.layout, factor=factor, n_random=n_random, match=match)
    for name, those in chosen.items():
        view.add(f"evaluate {name}, {len(conditions)} conditions", len(those.items) * len(conditions))
    answers = run_conditions(
        bound,
        {name: those.items for name, those in chosen.items()},
        conditions,
        token_budget=token_budget,
        max_new_tokens=max_new_tokens,
        judge=judge,
        after_batch=lambda name, condition, n_items: view.advance(
            f"evaluate {name}, {len(conditions)} conditions", n_items
        ),
    )
    rows = result_rows(answers, list(chosen), conditions)
    record = {
        "model": describe_model(bound),
        "neuron_sets": [
            {
                "name": chosen_set.name,
                "n_neurons": len(chosen_set.neurons),
                "method": chosen_set.method,
            }
            for chosen_set in sets
        ],
        "settings": {
            "factor": factor,
            "random_baseline": n_random,
            "baseline_match": match,
            "token_budget": token_budget,
            "max_new_tokens": max_new_tokens,
        },
        "lemmatizers": judge.tools,
        "benchmarks": {name: those.record() for name, those in chosen.items()},
        "versions": versions(),
    }
    for line in lemmatizer_lines(judge.tools):
        view.say(line)
    write_evaluation(folder, record, rows, answers, conditions)
    return rows


def lemmatizer_lines(tools: dict[str, dict[str, Any]]) -> list[str]:
    """Which lemmatizer judged the short answers of each language."""
    return [
        f"short answers in {language}: {tool['lemmatizer']} ({tool['package']} {tool['version']})"
        + (f", not installed: {', '.join(tool['missing'])}" if tool["missing"] else "")
        for language, tool in sorted(tools.items())
    ]


def print_rows(rows: Sequence[dict[str, Any]]) -> None:
    """Print the metrics of every condition, and what is significant about the sets."""
    for benchmark in dict.fromkeys(row["benchmark"] for row in rows):
        here = [row for row in rows if row["benchmark"] == benchmark]
        first = here[0]
        shown = [metric for metric in METRIC_HEADINGS if first.get(metric) is not None]
        print_table(
            f"{benchmark}: {first['n']:,} items, {first['n_units']:,} independent questions, "
            f"chance {percent(first['chance'])}",
            ("condition", "factor", "neurons", *(METRIC_HEADINGS[metric] for metric in shown)),
            [
                (
                    row["condition"],
                    f"{row['factor']:g}",
                    row["n_neurons"],
                    *(percent(row[m]) if "accuracy" in m else row[m] for m in shown),
                )
                for row in here
            ],
        )
        print_changes([row for row in here if row["change"] and row["like"] is None])


def print_changes(rows: Sequence[dict[str, Any]]) -> None:
    """Print each set's changes with intervals: against the unmasked model and against random masks."""
    lines: list[tuple[str, ...]] = []
    for row in rows:
        for against, changes in (("unmasked", row["change"]), ("random", row["against_random"])):
            for metric, change in (changes or {}).items():
                empirical = f"{change['empirical_p']:.3f}" if "empirical_p" in change else "–"
                lines.append(
                    (
                        row["condition"],
                        against,
                        metric.replace("_", " "),
                        f"{change['effect']:+.4f}",
                        _interval_text(change["interval"]),
                        p_text(change["p_value"]),
                        empirical,
                    )
                )
    if lines:
        print_table(
            "Change (95 % interval; p two-sided against unmasked, one-sided `lower` against random)",
            ("condition", "against", "metric", "change", "interval", "p", "rank p"),
            lines,
        )


def _interval_text(interval: Sequence[float | None]) -> str:
    low, high = interval
    return "–" if low is None or high is None else f"{low:+.4f} … {high:+.4f}"
