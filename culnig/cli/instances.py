"""`culnig-engine instances`: what the neurons of a set score on every single item."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from culnig.cli.options import PATH, ModelChoice, item_options, model_options, out_options, prompt_date_option
from culnig.cli.output import percent, print_json, print_line, print_table
from culnig.cli.progress import progress_view
from culnig.core.processes import disconnect
from culnig.core.text import counted

SHOWN_NEURONS = 10


@click.command("instances")
@model_options(spreads=True)
@item_options("test", seeded=True)
@click.option(
    "--neurons",
    type=PATH,
    required=True,
    help="Neuron-set file to score.",
)
@click.option(
    "--control", help="Benchmark to subtract, item by item; by default the benchmark's own control."
)
@click.option("--no-control", is_flag=True, help="Subtract nothing: raw scores only.")
@prompt_date_option()
@out_options("HDF5 file to write.")
def command(
    model: ModelChoice,
    benchmarks: tuple[str, ...],
    neurons: Path,
    control: str | None,
    no_control: bool,
    out: Path,
    as_json: bool,
    **options: Any,
) -> None:
    """Score the neurons of a set on every item, and show which topics and cultures they serve."""
    from culnig.evaluation.instances.instances import instances

    if control is not None and no_control:
        raise click.UsageError("--control and --no-control contradict each other; give only one of them")
    reports = model.reports
    with progress_view(quiet=not reports) as view:
        document = instances(
            model.source,
            benchmarks,
            neurons,
            out,
            control=not no_control if control is None else control,
            progress=view.progress,
            say=view.say,
            **options,
            **model.options,
        )
    disconnect()
    if not reports:
        return
    if as_json:
        print_json(document)
        return
    _print(document)
    print_line(f"Written to {out}")


def _print(document: dict[str, Any]) -> None:
    for measure, tables in document["measures"].items():
        measured = f"target − {document['control']}" if measure == "difference" else "raw"
        groups = [tables["overall"], *tables["by_topic"], *tables["by_culture"]]
        print_table(
            f"{document['neuron_set']} on {document['benchmark']}, {measured}: scores summed over "
            f"{document['n_neurons']:,} neurons",
            ("items", "n", "questions", "mean sum", "sum positive", "neurons positive"),
            [
                (
                    group["group"],
                    group["n"],
                    group["n_questions"],
                    f"{group['mean_sum']:+.2e}",
                    percent(group["positive"]),
                    percent(group["neuron_positive"]),
                )
                for group in groups
            ],
            optional=("neurons positive",),
        )
    measure = next(iter(document["measures"]))
    neurons = sorted(document["measures"][measure]["neurons"], key=lambda row: -row["mean"])
    print_table(
        f"The {min(SHOWN_NEURONS, len(neurons))} neurons with the highest mean ({measure}) over "
        f"{counted(document['n_questions'], 'question')}",
        ("module", "layer", "index", "mean", "positive", "best topic", "topic's share"),
        [
            (
                *row["neuron"],
                f"{row['mean']:+.2e}",
                percent(row["positive"]),
                row["topic"],
                percent(row["topic_share"]),
            )
            for row in neurons[:SHOWN_NEURONS]
        ],
    )
