"""`culnig-engine score`: a model over benchmarks into a run folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from culnig.cli.model_options import ModelChoice, model_options
from culnig.cli.options import (
    item_options,
    json_option,
    overwrite_option,
    read_benchmarks,
    skip_too_long_option,
    without_too_long,
)
from culnig.cli.output import percent, print_json, print_line, print_table
from culnig.cli.progress import progress_view
from culnig.cli.store_options import StoreChoice, announce_disk, disk_need, store_options
from culnig.core.items import SplitChoice
from culnig.kernels import AGGREGATORS
from culnig.scorers.base import RELEASED_CODE
from culnig.store.run import Run

if TYPE_CHECKING:
    from culnig.core.processes import Processes


@click.command("score")
@model_options()
@item_options("identify")
@click.option(
    "--aggregator",
    type=click.Choice(AGGREGATORS),
    default="max",
    show_default=True,
    help="How contributions at the tokens become one score.",
)
@click.option(
    "--scorer",
    "scorers",
    multiple=True,
    help="Score in this way too, in the same pass (see `list scorers`); may be given several times.",
)
@click.option(
    "--compat",
    type=click.Choice(["paper"]),
    help="Score also as the paper's released code does; `select --compat paper` selects by it.",
)
@store_options()
@click.option(
    "--gradient-checkpointing",
    is_flag=True,
    help="Compute each layer twice and keep one layer's activations: less memory, same scores.",
)
@click.option(
    "--no-prefix-sharing",
    is_flag=True,
    hidden=True,
    help="No effect: scoring computes every prompt whole.",
)
@skip_too_long_option()
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Run folder to make.")
@click.option("--resume", is_flag=True, help="Go on with an interrupted run.")
@click.option(
    "--shard",
    metavar="I/N",
    help="Score the I-th of N shares, each into a folder of its own; `merge` joins them.",
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
    aggregator: str,
    scorers: tuple[str, ...],
    compat: str | None,
    gradient_checkpointing: bool,
    no_prefix_sharing: bool,
    skip_too_long: bool,
    output: Path,
    resume: bool,
    shard: str | None,
    overwrite: bool,
    as_json: bool,
    **store: Any,
) -> None:
    """Score every neuron of a model over benchmarks, per culture, into a run folder.

    Under torchrun the processes share the work and end with one run.
    """
    from culnig.core.processes import disconnect, launched, parse_shard
    from culnig.inference.encoding import Encoder
    from culnig.planning.plan import planned_memory
    from culnig.planning.work import BenchmarkSize
    from culnig.scoring.run import score_portions
    from culnig.scoring.scoring import ScoreSettings

    storing = StoreChoice(**store)
    how = storing.settings(
        gradient_checkpointing=gradient_checkpointing,
        scorers=[*scorers, *([RELEASED_CODE] if compat else [])],
    )
    processes = launched() if shard is None else parse_shard(shard)
    if resume and overwrite:
        raise click.UsageError("--resume goes on with a run, --overwrite replaces it; give one of them")
    chosen = read_benchmarks(benchmarks, data_dir, split, cultures, limit, per_culture)
    with progress_view(quiet=not processes.is_first) as view:
        view.say(f"loading {model.source}")
        skeleton = model.skeleton()
        bound = model.load(skeleton)
        skipped: dict[str, int] = {}
        if skip_too_long:
            chosen, skipped = without_too_long(bound, chosen)
        for name, n_items in skipped.items():
            view.say(f"{name}: {n_items} items are longer than the model allows and left out")
        view.say(f"{bound.layout.n_neurons:,} neurons in {bound.layout.n_layers} layers ({bound.adapter})")
        encoder = Encoder(bound)
        encoded = {name: encoder.encode_all(benchmark.items) for name, benchmark in chosen.items()}
        sizes = {name: BenchmarkSize.of(items) for name, items in encoded.items()}
        need = disk_need(bound, chosen, sizes, how, token_budget)
        announce_disk(view.say, output, need, force=storing.force)
        for name, those in chosen.items():
            view.add(f"score {name}", len(those.items))
        score_portions(
            bound,
            chosen,
            ScoreSettings(aggregator, token_budget),
            output,
            processes,
            run_settings=how,
            encoded=encoded,
            resume=resume,
            overwrite=overwrite,
            skipped=skipped,
            planned_memory=planned_memory(
                skeleton.bound,
                sizes,
                token_budget=token_budget,
                on_device=bound.model.device.type != "cpu",
                quantize=model.settings.quantize,
                checkpointing=gradient_checkpointing,
                n_scorers=1 + len(how.scorers),
            ).record(),
            progress=lambda name, n_items: view.advance(f"score {name}", n_items),
        )
    disconnect()
    if processes.is_shard:
        _report_shard(output, processes, as_json)
    elif processes.is_first:
        _report(Run(output), output, skipped, as_json)


def _report_shard(output: Path, processes: Processes, as_json: bool) -> None:
    number, of = processes.number + 1, processes.of
    if as_json:
        print_json({"run": str(output), "shard": {"number": number, "of": of}})
        return
    print_line(f"Shard {number} of {of} is in {output}")
    print_line("Next, when all shards are there: culnig-engine merge SHARD SHARD… -o RUN")


def _report(run: Run, output: Path, skipped: dict[str, int], as_json: bool) -> None:
    rows = summary_rows(run)
    if as_json:
        print_json(
            {
                "run": str(output),
                "model": run.record["model"],
                "benchmarks": rows,
                "skipped_too_long": skipped,
                "memory": run.record.get("memory"),
            }
        )
        return
    print_run(run)
    print_line(f"Next: culnig-engine select general {output} -o general.neurons.json")


def print_run(run: Run) -> None:
    """Print what a run holds, one row per benchmark."""
    print_table(
        f"Run {run.folder}: {run.layout.n_neurons:,} neurons of {run.model}",
        (
            "benchmark",
            "role",
            "split",
            "cultures",
            "items",
            "accuracy",
            "option acc.",
            "P(gold)",
            "option mass",
        ),
        [
            (
                row["benchmark"],
                row["role"],
                row["split"],
                row["n_cultures"],
                row["n"],
                percent(row["accuracy"]),
                percent(row["option_accuracy"]),
                row["p_gold"],
                row["option_mass"],
            )
            for row in summary_rows(run)
        ],
    )


def summary_rows(run: Run) -> list[dict[str, Any]]:
    """One row per benchmark of a run: how many items, and how the model answered them."""
    rows = []
    for stored in run.benchmarks.values():
        outcomes = run.outcomes(stored.name)
        answered = len(outcomes.id) > 0  # imported scores come without answers
        rows.append(
            {
                "benchmark": stored.name,
                "role": stored.role,
                "split": stored.split,
                "n_cultures": len(stored.cultures),
                "n": stored.n_items,
                "accuracy": float(np.mean(outcomes.correct)) if answered else None,
                "option_accuracy": float(np.mean(outcomes.option_correct)) if answered else None,
                "p_gold": float(np.mean(outcomes.p_gold)) if answered else None,
                "option_mass": float(np.mean(outcomes.option_mass)) if answered else None,
            }
        )
    return rows
