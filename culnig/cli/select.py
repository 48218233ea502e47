"""`culnig-engine select`: neuron sets from a run, no model needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from culnig.cli.options import Command, json_option, overwrite_option
from culnig.cli.output import print_json, print_line, print_table
from culnig.selection.general import GeneralSettings, select_general
from culnig.selection.neuron_set import NeuronSet, read_neuron_set
from culnig.selection.random import select_random
from culnig.selection.specific import SpecificSettings, select_specific
from culnig.selection.tables import SelectionTables, selection_tables
from culnig.store.run import Run

_FRACTION = click.FloatRange(0, 1)


@click.group("select")
def command() -> None:
    """Select neurons from the stored scores of a run."""


def _output_options(call: Command) -> Command:
    for option in (
        json_option(),
        overwrite_option(),
        click.option(
            "-o",
            "--output",
            type=click.Path(path_type=Path),
            required=True,
            help="Neuron-set file.",
        ),
    ):
        call = option(call)
    return call


def _table_options(call: Command) -> Command:
    for option in (
        click.option("--no-exclusion", is_flag=True, help="Remove no neurons by an exclusion benchmark."),
        click.option("--no-control", is_flag=True, help="Rank by the target alone."),
        click.option("--exclusion", help="Exclusion benchmark, where the run has several."),
        click.option("--control", help="Control benchmark, where the run has several."),
        click.option("--target", help="Target benchmark, where the run has several."),
        click.argument("run", type=click.Path(path_type=Path)),
    ):
        call = option(call)
    return call


def _tables(
    run: Path,
    target: str | None,
    control: str | None,
    exclusion: str | None,
    no_control: bool,
    no_exclusion: bool,
) -> SelectionTables:
    return selection_tables(
        Run(run),
        target=target,
        control=control,
        exclusion=exclusion,
        use_control=not no_control,
        use_exclusion=not no_exclusion,
    )


@command.command("general")
@_table_options
@click.option(
    "--top-mlp", type=_FRACTION, default=0.01, show_default=True, help="Share of gate neurons kept."
)
@click.option(
    "--top-attention",
    type=_FRACTION,
    default=0.002,
    show_default=True,
    help="Share of query, key and value neurons kept.",
)
@click.option(
    "--exclude",
    type=_FRACTION,
    default=0.01,
    show_default=True,
    help="Share of each pool, by exclusion score, that is removed again.",
)
@_output_options
def general(
    run: Path,
    target: str | None,
    control: str | None,
    exclusion: str | None,
    no_control: bool,
    no_exclusion: bool,
    top_mlp: float,
    top_attention: float,
    exclude: float,
    output: Path,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Neurons that matter for all cultures together."""
    tables = _tables(run, target, control, exclusion, no_control, no_exclusion)
    _finish(
        select_general(tables, GeneralSettings(top_mlp, top_attention, exclude)),
        output,
        overwrite,
        as_json,
    )


@command.command("specific")
@_table_options
@click.option("--culture", required=True, help="The culture to select for.")
@click.option("--top", type=_FRACTION, default=0.003, show_default=True, help="Share of the one pool kept.")
@click.option(
    "--exclude",
    type=_FRACTION,
    default=0.01,
    show_default=True,
    help="Share of the pool, by the culture's exclusion score, that is removed again.",
)
@click.option("--z", type=float, default=0.5, show_default=True, help="Least z among the cultures.")
@_output_options
def specific(
    run: Path,
    target: str | None,
    control: str | None,
    exclusion: str | None,
    no_control: bool,
    no_exclusion: bool,
    culture: str,
    top: float,
    exclude: float,
    z: float,
    output: Path,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Neurons that matter for one culture more than for the others."""
    tables = _tables(run, target, control, exclusion, no_control, no_exclusion)
    _finish(
        select_specific(tables, culture, SpecificSettings(top, exclude, z)),
        output,
        overwrite,
        as_json,
    )


@command.command("random")
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--like",
    type=click.Path(path_type=Path),
    required=True,
    help="Neuron set whose counts are matched.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option(
    "--match",
    type=click.Choice(["module", "total"]),
    default="module",
    show_default=True,
    help="Match counts per module and layer, or only the total, as the paper does.",
)
@_output_options
def random(
    run: Path, like: Path, seed: int, match: Any, output: Path, overwrite: bool, as_json: bool
) -> None:
    """Random neurons in the shape of a given set, none of them in it."""
    _finish(
        select_random(read_neuron_set(like), Run(run).layout, seed, match),
        output,
        overwrite,
        as_json,
    )


def _finish(chosen: NeuronSet, output: Path, overwrite: bool, as_json: bool) -> None:
    chosen.write(output, overwrite=overwrite)
    if not chosen.neurons:
        click.echo("warning: no neuron is left; try larger fractions or a smaller z", err=True)
    counts = chosen.count_by_module_and_layer()
    if as_json:
        print_json(
            {
                "neurons": str(output),
                "name": chosen.name,
                "model": chosen.model,
                "n_neurons": len(chosen.neurons),
                "method": chosen.method,
                "by_module_and_layer": [
                    {"module": module, "layer": layer, "n": n}
                    for (module, layer), n in sorted(counts.items())
                ],
            }
        )
        return
    print_counts(chosen)
    print_line(f"Written to {output}")


def print_counts(chosen: NeuronSet) -> None:
    """Print how many neurons lie in each module, and in which layers."""
    by_module: dict[str, dict[int, int]] = {}
    for (module, layer), n in sorted(chosen.count_by_module_and_layer().items()):
        by_module.setdefault(module, {})[layer] = n
    print_table(
        f"{chosen.name}: {len(chosen.neurons):,} neurons of {chosen.model}",
        ("module", "neurons", "layer: neurons"),
        [
            (
                module,
                sum(layers.values()),
                "  ".join(f"{layer}: {n}" for layer, n in layers.items()),
            )
            for module, layers in by_module.items()
        ],
    )
