"""`culnig-engine export`: a model folder whose weights hold a mask."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from culnig.cli.options import PATH, ModelChoice, defaults_of, model_options, out_options
from culnig.cli.output import print_json, print_line
from culnig.cli.progress import progress_view
from culnig.exchange.export import export_model, read_export
from culnig.models.embedded import model_name


@defaults_of(export_model)
@click.command("export")
@click.argument("neurons", metavar="NEURONS...", nargs=-1, required=True, type=PATH)
@model_options()
@click.option("--factor", type=float, help="0 suppresses, 2 enhances.")
@click.option(
    "--mask",
    type=click.Choice(["scale", "mean"]),
    help="Scale activations by the factor, or replace them with their mean.",
)
@click.option("--means", type=PATH, help="Run of this model whose prompts give the means.")
@click.option("--gguf", is_flag=True, help="Also write a GGUF file, with the converter of llama.cpp.")
@out_options("Model folder to create.", tables=False)
def command(neurons: tuple[Path, ...], model: ModelChoice, out: Path, as_json: bool, **options: Any) -> None:
    """Write a model with neurons masked in its weights, as a normal transformers folder.

    Neurons of several sets are masked together. The weight files are copied and changed in place, so a large
    model needs disk space but little memory.
    """
    with progress_view(quiet=False) as view:
        export_model(model.source, neurons, out, say=view.say, **options, **model.options)
    record = read_export(out)
    if as_json:
        shown = ("mask", "factor", "n_neurons", "largest_rounding")
        print_json({"folder": str(out), **{name: record[name] for name in shown}})
        return
    name = model_name(record["model"]["source"])
    print_line(f"{record['n_neurons']:,} neurons masked in the weights of {name}")
    print_line(f"Written to {out}")
