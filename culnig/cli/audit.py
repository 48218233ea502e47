"""`culnig-engine audit`: scores of selected neurons beside the exact effect of zeroing each."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click

from culnig.cli.model_options import ModelChoice, model_options
from culnig.cli.options import item_options, json_option, read_benchmarks
from culnig.cli.output import print_json, print_table
from culnig.cli.progress import progress_view
from culnig.core.items import Item, SplitChoice
from culnig.errors import InputError
from culnig.selection.neuron_set import read_neuron_set

_SHOWN = 10


@click.command("audit")
@click.argument("neurons", type=click.Path(path_type=Path))
@model_options()
@item_options("identify")
@click.option(
    "--top",
    type=click.IntRange(min=2),
    default=20,
    show_default=True,
    help="How many of the set's best neurons, and as many random ones.",
)
@click.option(
    "--aggregator",
    type=click.Choice(["max", "absmax", "sum", "mean", "last"]),
    default="max",
    show_default=True,
    help="The aggregator of the run that the set was selected from.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@json_option()
def command(
    neurons: Path,
    model: ModelChoice,
    benchmarks: tuple[str, ...],
    data_dir: Path | None,
    split: SplitChoice,
    cultures: tuple[str, ...],
    limit: int | None,
    per_culture: int | None,
    token_budget: int,
    top: int,
    aggregator: str,
    seed: int,
    as_json: bool,
) -> None:
    """Zero neurons one at a time and compare what that does with their scores.

    For the best neurons of the set and as many random ones of the same modules and layers, on the same items.
    """
    from culnig.scoring.scoring import ScoreSettings
    from culnig.selection.random import select_random
    from culnig.verification.linearisation import LOW, audit

    chosen = read_neuron_set(neurons)
    if top > len(chosen.neurons):
        raise InputError(
            f"--top is {top}, {neurons} holds {len(chosen.neurons)} neurons; give a smaller --top"
        )
    items = _items(benchmarks, data_dir, split, cultures, limit, per_culture)
    best = replace(chosen, neurons=chosen.neurons[:top], scores=chosen.scores[:top], columns={})
    with progress_view() as view:
        view.say(f"loading {model.source}")
        bound = model.load()
        flat = best.flat(bound.layout)
        random = select_random(best, bound.layout, seed).flat(bound.layout)
        view.add("neurons zeroed", 2 * top)
        found = audit(
            bound,
            items,
            flat,
            random,
            ScoreSettings(aggregator=aggregator, token_budget=token_budget),
            lambda: view.advance("neurons zeroed", 1),
        )
    rows = [
        {
            "module": neuron.module,
            "layer": neuron.layer,
            "index": neuron.index,
            "group": "top" if place < top else "random",
            "score": float(found.score[place]),
            "linear_estimate": float(found.first_order[place]),
            "effect": float(found.effect[place]),
        }
        for place, neuron in enumerate(bound.layout.neurons(found.flat))
    ]
    correlations = {
        name: {key: _number(value) for key, value in asdict(those).items()}
        for name, those in found.correlations.items()
    }
    if found.is_low:
        rho = correlations["score, all"]["rho"]
        click.echo(
            f"warning: scores and exact effects have a rank correlation of {_text(rho)}, below {LOW:g}: "
            "for this model and benchmark the ranking says little about what zeroing a neuron does",
            err=True,
        )
    if as_json:
        print_json(
            {"n_items": len(items), "low": found.is_low, "correlations": correlations, "neurons": rows}
        )
        return
    _print(rows, correlations, len(items))


def _items(
    benchmarks: tuple[str, ...],
    data_dir: Path | None,
    split: SplitChoice,
    cultures: tuple[str, ...],
    limit: int | None,
    per_culture: int | None,
) -> list[Item]:
    chosen = read_benchmarks(benchmarks, data_dir, split, cultures, limit, per_culture)
    for name, those in chosen.items():
        if those.role != "target":
            raise InputError(f"benchmark {name!r} is a {those.role}; an audit asks a target benchmark")
        if not all(item.options for item in those.items):
            raise InputError(f"benchmark {name!r} is answered freely; an audit needs labels")
    return [item for those in chosen.values() for item in those.items]


def _print(rows: list[dict[str, Any]], correlations: dict[str, dict[str, Any]], n_items: int) -> None:
    shown = sorted(rows, key=lambda row: -float(row["effect"]))[:_SHOWN]
    print_table(
        f"Largest effects of {len(rows)} neurons on {n_items} items (mean of P · change of P)",
        ("module", "layer", "index", "group", "score", "linear estimate", "effect"),
        [
            (
                *(row[key] for key in ("module", "layer", "index", "group")),
                *(f"{row[key]:.3e}" for key in ("score", "linear_estimate", "effect")),
            )
            for row in shown
        ],
    )
    print_table(
        "Rank correlation with the exact effect (Spearman, 95 % interval)",
        ("what", "neurons", "rho", "interval"),
        [
            (name, those["n"], _text(those["rho"]), f"{_text(those['low'])} to {_text(those['high'])}")
            for name, those in correlations.items()
        ],
    )


def _number(value: float) -> float | None:
    return None if value != value else value


def _text(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"
