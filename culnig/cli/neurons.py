"""`culnig-engine neurons`: combine neuron sets, compare them, and change their format."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from culnig.cli.model_comparison import print_comparison
from culnig.cli.options import PATH, ModelChoice, json_option, model_options, out_options, overwrite_option
from culnig.cli.output import print_json, print_line, print_table, print_tree
from culnig.cli.selected import print_counts
from culnig.core.neurons import MLP_GATE
from culnig.selection import sets as algebra
from culnig.selection.neuron_set import NeuronSet

_SHOWN = 12
"""Sets whose whole matrix is printed; more are in --json."""

_FILES = click.argument("sets", metavar="FILE...", nargs=-1, type=PATH)


@click.group("neurons")
def command() -> None:
    """Combine neuron sets, compare them, change their format."""


def _combination(name: str, combine: Callable[..., NeuronSet], summary: str) -> None:
    @command.command(name, help=summary)
    @_FILES
    @out_options("File to write.")
    def run(sets: Sequence[Path], out: Path, overwrite: bool, as_json: bool) -> None:
        combined = combine(sets, out, overwrite=overwrite)
        if as_json:
            print_json({"neurons": str(out), "name": combined.name, "n_neurons": len(combined.neurons)})
            return
        print_counts(combined)
        print_line(f"Written to {out}")


_combination("union", algebra.neurons_union, "Neurons in any of the sets.")
_combination("intersect", algebra.neurons_intersect, "Neurons in all of the sets.")
_combination("minus", algebra.neurons_minus, "Neurons of the first set that are in none of the others.")


@command.command("diff")
@_FILES
@json_option()
def diff(sets: Sequence[Path], as_json: bool) -> None:
    """Show what two sets share, what only one of them has, and which of their settings differ."""
    difference = algebra.neurons_diff(sets)
    first, second = difference.names
    if as_json:
        print_json(
            {
                "first": first,
                "second": second,
                "both": len(difference.both),
                "only_first": [list(neuron) for neuron in difference.only_first],
                "only_second": [list(neuron) for neuron in difference.only_second],
                "settings": {key: list(values) for key, values in difference.settings.items()},
            }
        )
        return
    total = ("all", len(difference.both), len(difference.only_first), len(difference.only_second))
    heading = ("module", "both", f"only {first}", f"only {second}")
    print_table(f"{first} and {second}", heading, [*difference.by_module(), total])
    print_table(
        "Settings that differ",
        ("setting", first, second),
        [(key, *map(str, values)) for key, values in difference.settings.items()],
    )


@command.command("overlap")
@_FILES
@click.option(
    "--measure",
    type=click.Choice(["jaccard", "overlap"]),
    default="jaccard",
    show_default=True,
    help="jaccard: shared / in either. overlap: shared / size of the smaller set.",
)
@click.option(
    "--run",
    type=PATH,
    help="A run of the model, so that chance keeps each set's counts per module and layer.",
)
@click.option("--figure", type=PATH, help="File to draw the matrix and the tree to: .pdf, .svg or .png.")
@overwrite_option()
@json_option()
def overlap(sets: Sequence[Path], as_json: bool, **options: Any) -> None:
    """Compare sets: how similar they are, what chance would give, and which of them cluster."""
    from culnig.reporting.similarity import neurons_overlap

    document = neurons_overlap(sets, **options)
    if as_json:
        print_json(document)
        return
    measure, names = document["measure"], [chosen["name"] for chosen in document["sets"]]
    _print_pairs(document["pairs"], measure)
    if 2 < len(names) <= _SHOWN:
        numbers = [str(number) for number in range(1, len(names) + 1)]
        rows = [
            (f"{number}  {name}", *(f"{value:.2f}" for value in row))
            for number, name, row in zip(numbers, names, document["matrix"], strict=True)
        ]
        print_table(f"Similarity ({measure})", ("set", *numbers), rows)
    print_tree(f"Tree by {measure} (average linkage)", _labels(document["tree"]))
    if options["figure"] is not None:
        print_line(f"Drawn in {options['figure']}")


def _print_pairs(pairs: list[dict[str, Any]], measure: str) -> None:
    """The most similar pairs with what chance would give."""
    ranked = sorted(pairs, key=lambda pair: -pair[measure])
    rows = [
        (
            f"{pair['first']}, {pair['second']}",
            pair["shared"],
            None if pair["expected_shared"] is None else f"{pair['expected_shared']:.1f}",
            *(pair[name] for name in ("jaccard", "expected_jaccard", "overlap", "expected_overlap")),
        )
        for pair in ranked[:_SHOWN]
    ]
    more = f", the {_SHOWN} most similar of {len(pairs)} pairs" if len(pairs) > _SHOWN else ""
    heading = ("sets", "shared", "by chance", "jaccard", "by chance", "overlap", "by chance")
    print_table(f"Overlap{more}", heading, rows, optional=("overlap",))
    if any(pair["expected_shared"] is None for pair in pairs):
        print_line("By chance: unknown, because a file does not say its pools; add --run RUN")


def _labels(branch: dict[str, Any]) -> tuple[str, list[Any]]:
    label = branch.get("name") or f"similarity {branch['similarity']:.3f}"
    return label, [_labels(inner) for inner in branch.get("branches", ())]


@command.command("compare")
@click.argument("first", type=PATH)
@click.argument("second", type=PATH)
@click.option(
    "--run",
    "runs",
    multiple=True,
    type=PATH,
    help="Run of each set, in the same order; gives the depth of each model and where cultures' scores lie.",
)
@click.option(
    "--evaluation",
    "evaluations",
    multiple=True,
    type=PATH,
    help="Evaluation with --matrix of each model, in the same order.",
)
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of permutations."
)
@json_option()
def compare(first: Path, second: Path, as_json: bool, **options: Any) -> None:
    """Compare sets of two models: their relative depth, and whether each culture looks alike in both.

    For two versions of one model, such as before and after training, also shows the overlap and the neurons
    that only one version has.
    """
    from culnig.reporting.model_comparison import neurons_compare

    document = neurons_compare(first, second, **options)
    if as_json:
        print_json(document)
        return
    print_comparison(document)


@command.command("convert")
@click.argument("files", metavar="FILE...", type=PATH, nargs=-1, required=True)
@click.option(
    "--to",
    type=click.Choice(["culnig", "paper-json", "lape", "csv", "transformer-lens", "nnsight"]),
    required=True,
    help="paper-json: that of the released code. lape: a .pth file of index tensors, one group per set. "
    "transformer-lens: names of hooks. nnsight: modules and columns (needs --model).",
)
@model_options(required=False, reads_weights=False)
@click.option("--run", type=PATH, help="A run of the model, for its layout.")
@click.option(
    "--module",
    default=MLP_GATE,
    show_default=True,
    help="The module of a LAPE file.",
)
@click.option("--group", type=click.IntRange(min=0), help="Only this group of a LAPE file.")
@out_options("File to write.", tables=False)
def convert(
    files: tuple[Path, ...],
    to: Any,
    model: ModelChoice | None,
    out: Path,
    as_json: bool,
    **options: Any,
) -> None:
    """Convert neuron sets (culnig's files, the released code's JSON, LAPE's .pth) to another format.

    Files of other programs do not record the layout of the model: name it with --run or --model.
    """
    source, loading = (None, {}) if model is None else (model.source, model.options)
    sets = algebra.neurons_convert(files, to, out, model=source, **options, **loading)
    if as_json:
        written = [{"name": chosen.name, "n_neurons": len(chosen.neurons)} for chosen in sets]
        print_json({"file": str(out), "format": to, "sets": written})
        return
    print_line(f"{sum(len(chosen.neurons) for chosen in sets):,} neurons written to {out}")
