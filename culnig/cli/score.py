"""`culnig-engine score`: a model over benchmarks into a run folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from culnig import api
from culnig.cli.options import (
    ModelChoice,
    check_option,
    defaults_of,
    ignored_prefix_sharing_option,
    item_options,
    model_options,
    out_options,
    prompt_date_option,
    resume_option,
    skip_too_long_option,
)
from culnig.cli.options.store import store_options
from culnig.cli.output import percent, print_json, print_line, print_table
from culnig.cli.progress import progress_view
from culnig.core.processes import disconnect, launched
from culnig.kernels import AGGREGATORS
from culnig.models.embedded import model_name
from culnig.reporting.inspect import benchmark_rows
from culnig.store.run import Run
from culnig.store.warnings import run_warnings


@defaults_of(api.score)
@click.command("score")
@model_options(spreads=True)
@item_options("identify", seeded=True, budget_from_memory=True)
@click.option(
    "--aggregator",
    type=click.Choice(AGGREGATORS),
    help="How the contributions of an item's tokens become one score.",
)
@click.option(
    "--scorer",
    "scorers",
    multiple=True,
    help="Also score with this scorer, in the same pass (see `list scorers`); may be given several times.",
)
@click.option(
    "--compat",
    type=click.Choice(["paper"]),
    help="Also score the way the paper's released code does; `select --compat paper` uses these scores.",
)
@click.option(
    "--baseline",
    type=click.Choice(["other-cultures"]),
    help="Count activations from their mean over the other cultures that were asked the same question, not "
    "from zero. Needs prompts that differ only in the culture's name.",
)
@store_options
@click.option(
    "--gradient-checkpointing",
    is_flag=True,
    help="Compute each layer twice and keep one layer's activations: less memory, same scores.",
)
@ignored_prefix_sharing_option()
@skip_too_long_option()
@prompt_date_option()
@check_option()
@click.option(
    "--shard",
    metavar="I/N",
    help="Score only shard I of N, each into a folder of its own; `merge` joins the shards.",
)
@resume_option("run")
@out_options("Run folder to create.")
def command(model: ModelChoice, out: Path, shard: str | None, as_json: bool, **options: Any) -> None:
    """Score every neuron of a model over benchmarks, per culture, into a run folder.

    Under torchrun the processes share the work and end with one run.
    """
    is_first = shard is not None or launched().is_first
    with progress_view(quiet=not is_first) as view:
        run = api.score(
            model.source,
            out=out,
            shard=shard,
            progress=view.progress,
            say=view.say,
            **model.options,
            **options,
        )
    disconnect()
    if shard is not None:
        _report_shard(out, shard, as_json)
    elif is_first:
        _report(run, as_json)


def _report_shard(out: Path, shard: str, as_json: bool) -> None:
    number, of = map(int, shard.split("/"))
    if as_json:
        print_json({"run": str(out), "shard": {"number": number, "of": of}})
        return
    print_line(f"Shard {number} of {of} is in {out}")
    print_line("Next, when all shards are finished: culnig-engine merge SHARD SHARD… -o RUN")


def _report(run: Run, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "run": str(run.folder),
                "model": run.record["model"],
                "benchmarks": benchmark_rows(run),
                "skipped_too_long": run.record.get("skipped_too_long", {}),
                "memory": run.record.get("memory"),
                "warnings": [warning.record() for warning in run_warnings(run)],
            }
        )
        return
    print_run(run)
    stops = [warning for warning in run_warnings(run) if warning.stops_selection]
    for warning in stops:
        print_line(f"Do not select yet. {warning}")
    if not stops:
        print_line(f"Next: culnig-engine select general {run.folder} -o general.neurons.json")


def print_run(run: Run) -> None:
    """Print what a run holds, one row per benchmark."""
    print_benchmarks(
        f"Run {run.folder}: {run.layout.n_neurons:,} neurons of {model_name(run.model)}", benchmark_rows(run)
    )


def print_benchmarks(title: str, rows: list[dict[str, Any]]) -> None:
    """Print the benchmarks of a run, with how many items and questions they have and how well it answers."""
    metrics = ("accuracy", "option_accuracy", "p_gold", "option_mass")
    print_table(
        title,
        (
            *("benchmark", "role", "split", "cultures", "items", "questions"),
            *("accuracy", "option acc.", "P(gold)", "option mass"),
        ),
        [
            (
                *(row[key] for key in ("benchmark", "role", "split", "n_cultures", "n", "n_questions")),
                *(percent(row[metric]) for metric in metrics),
            )
            for row in rows
        ],
        optional=("option mass", "option acc."),
    )
