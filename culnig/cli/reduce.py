"""`culnig-engine reduce`: a run made again from stored scores or tensors, without the model."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click

from culnig.cli.options import json_option, overwrite_option
from culnig.cli.output import print_json
from culnig.cli.progress import progress_view
from culnig.cli.score import print_run, summary_rows
from culnig.core.neurons import parse_layers
from culnig.errors import InputError

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


@click.command("reduce")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Run folder to make.")
@click.option(
    "--aggregator",
    help="How contributions at the tokens become one score (needs level token): max, absmax, sum, mean, "
    "last, or a plugin's.",
)
@click.option(
    "--confidence/--no-confidence", default=True, help="Weight scores with P(gold), as `score` does, or not."
)
@click.option(
    "--padding",
    type=click.Choice(["exclude", "zero"]),
    default="exclude",
    show_default=True,
    help="zero: padding takes part as a zero, as in the paper's released code.",
)
@click.option("--benchmark", "benchmarks", multiple=True, help="Only these benchmarks of the run.")
@click.option("--modules", multiple=True, help="Only these modules, such as gate_proj.")
@click.option("--layers", help="Only these layers, such as 0-3,7.")
@click.option("--culture", "cultures", multiple=True, help="Only these cultures.")
@click.option("--without-culture", "without_cultures", multiple=True, help="All cultures but these.")
@click.option("--items", multiple=True, help="Only items of this id; * stands for any characters.")
@click.option("--without-items", multiple=True, help="All items but those of this id.")
@click.option("--half", type=click.IntRange(1, 2), help="One of two halves of the questions of each culture.")
@click.option("--bootstrap", is_flag=True, help="Draw each culture's questions anew, with replacement.")
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="For halves and draws."
)
@click.option(
    "--level",
    type=click.Choice(["culture", "item"]),
    default="culture",
    show_default=True,
    help="What the new run stores.",
)
@click.option("--memory", default="1G", show_default=True, help="Most memory for arrays, such as 500M or 4G.")
@click.option(
    "--compression",
    type=click.Choice(["none", "fast", "default"]),
    default="default",
    show_default=True,
    help="How files are packed.",
)
@overwrite_option()
@json_option()
def command(
    run: Path,
    output: Path,
    aggregator: str | None,
    confidence: bool,
    padding: str,
    benchmarks: tuple[str, ...],
    modules: tuple[str, ...],
    layers: str | None,
    level: str,
    memory: str,
    compression: Any,
    overwrite: bool,
    as_json: bool,
    **choice: Any,
) -> None:
    """Make a new run from what RUN stores of its items (levels item and token), without the model.

    With the settings of RUN the new run is RUN, to the bit.
    """
    from culnig.reanalysis.choice import ItemChoice
    from culnig.reanalysis.reduce import Reducer, Reduction
    from culnig.store.run import Run

    reduction = Reduction(
        aggregator=aggregator,
        confidence=confidence,
        padding=padding,
        modules=modules,
        layers=() if layers is None else parse_layers(layers),
        benchmarks=benchmarks,
        items=ItemChoice(**choice),
        level=level,
    )
    reducer = Reducer(Run(run), reduction, parse_size(memory))
    with progress_view() as view:
        view.add("reduce", reducer.n_steps)
        made = reducer.write(
            output,
            overwrite=overwrite,
            compression=compression,
            progress=lambda n_neurons: view.advance("reduce", n_neurons),
        )
    if as_json:
        print_json({"run": str(output), "benchmarks": summary_rows(made)})
        return
    print_run(made)


def parse_size(text: str) -> int:
    """Bytes of text such as 500M; InputError where it is none."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([KMGT]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    if found is None or float(found[1]) == 0:
        raise InputError(f"{text!r} is no size; a number with K, M, G or T is allowed, such as 500M")
    return int(float(found[1]) * _UNITS[found[2].upper()])
