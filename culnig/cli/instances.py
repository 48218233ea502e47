"""`culnig-engine instances`: what the neurons of a set score on every single problem."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from culnig import registry
from culnig.cli.model_options import ModelChoice, model_options
from culnig.cli.options import item_options, json_option, overwrite_option, read_benchmarks
from culnig.cli.output import percent, print_json, print_line, print_table
from culnig.cli.progress import progress_view
from culnig.core.items import SplitChoice
from culnig.selection.neuron_set import read_neuron_set

SHOWN_NEURONS = 10


@click.command("instances")
@model_options()
@item_options("test")
@click.option(
    "--neurons",
    "neuron_file",
    type=click.Path(path_type=Path),
    required=True,
    help="Neuron-set file to score.",
)
@click.option("--control", help="Benchmark to subtract, item by item; by default the one's own control.")
@click.option("--no-control", is_flag=True, help="Raw scores alone.")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="HDF5 file to write.")
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
    neuron_file: Path,
    control: str | None,
    no_control: bool,
    output: Path,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Score the neurons of a set on every problem, and say which topics and cultures they serve."""
    from culnig.evaluation.instances.file import check_free, write_instances
    from culnig.evaluation.instances.scores import instance_scores
    from culnig.evaluation.instances.summary import summary
    from culnig.inference.products import products_of
    from culnig.provenance import describe_model, versions

    if len(benchmarks) != 1:
        raise click.UsageError("instances are of one benchmark; give --benchmark once")
    if control is not None and no_control:
        raise click.UsageError("--control names a control, --no-control goes without; give one of them")
    check_free(output, overwrite=overwrite)
    chosen_set = read_neuron_set(neuron_file)
    own_control = None if no_control else control or registry.benchmark(benchmarks[0]).control
    names = (*benchmarks, *([own_control] if own_control else []))
    chosen = read_benchmarks(names, data_dir, split, cultures, limit, per_culture)
    (name, those), *others = chosen.items()
    without = others[0][1].items if others else None
    with progress_view() as view:
        view.say(f"loading {model.source}")
        bound = model.load()
        flat = chosen_set.flat(bound.layout)
        task = f"score {len(flat):,} neurons on {name}"
        view.add(task, len(those.items) * (1 if without is None else 2))
        scores = instance_scores(
            bound,
            those.items,
            flat,
            without,
            token_budget=token_budget,
            after_batch=lambda n_items: view.advance(task, n_items),
        )
    record = {
        "model": describe_model(bound),
        "neuron_set": {"name": chosen_set.name, "method": chosen_set.method},
        "benchmarks": {name: those.record() for name, those in chosen.items()},
        "versions": versions(products_of(bound.model)),
    }
    write_instances(output, scores, bound.layout, record)
    document = {"instances": str(output), "benchmark": name, "control": own_control}
    document |= {"neuron_set": chosen_set.name, **summary(scores, bound.layout)}
    if as_json:
        print_json(document)
        return
    print_instances(document)
    print_line(f"Written to {output}")


def print_instances(document: dict[str, Any]) -> None:
    """Print how many problems the neurons serve, by topic and culture, and the neurons that serve most."""
    for measure, tables in document["measures"].items():
        what = f"target − {document['control']}" if measure == "difference" else "raw"
        groups = [tables["overall"], *tables["by_topic"], *tables["by_culture"]]
        print_table(
            f"{document['neuron_set']} on {document['benchmark']}, {what}: scores summed over "
            f"{document['n_neurons']:,} neurons",
            ("items", "n", "mean sum", "sum positive", "neurons positive"),
            [
                (
                    group["group"],
                    group["n"],
                    f"{group['mean_sum']:+.3e}",
                    percent(group["positive"]),
                    percent(group["neuron_positive"]),
                )
                for group in groups
            ],
        )
    measure = next(iter(document["measures"]))
    neurons = sorted(document["measures"][measure]["neurons"], key=lambda one: -one["mean"])
    print_table(
        f"The {min(SHOWN_NEURONS, len(neurons))} neurons with the highest mean ({measure})",
        ("module", "layer", "index", "mean", "positive", "best topic", "topic's share"),
        [
            (
                *one["neuron"],
                f"{one['mean']:+.2e}",
                percent(one["positive"]),
                one["topic"],
                percent(one["topic_share"]),
            )
            for one in neurons[:SHOWN_NEURONS]
        ],
    )
