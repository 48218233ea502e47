"""`culnig-engine neurons`: put neuron sets together, compare them, and change their format."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from culnig.cli.model_options import ModelChoice, model_options
from culnig.cli.options import Command, json_option, overwrite_option, together
from culnig.cli.output import print_json, print_line, print_table, print_tree
from culnig.cli.selected import print_counts
from culnig.core.neurons import MLP_GATE, Layout
from culnig.errors import InputError, OutputExistsError
from culnig.selection.algebra import Operation, combine, difference
from culnig.selection.neuron_set import NeuronSet, read_neuron_set
from culnig.store.run import Run

if TYPE_CHECKING:
    from culnig.selection.similarity import Branch, Pair

_SHOWN = 12
"""Sets whose whole matrix is printed; more are in --json."""


@click.group("neurons")
def command() -> None:
    """Put neuron sets together, compare them, change their format."""


def _files(least: int) -> Callable[[Command], Command]:
    def read(ctx: click.Context, param: click.Parameter, paths: tuple[Path, ...]) -> list[NeuronSet]:
        if len(paths) < least:
            raise click.BadParameter(f"{len(paths)} given, at least {least} needed", ctx, param)
        return _named_apart([read_neuron_set(path) for path in paths], paths)

    return click.argument("sets", metavar="FILE...", nargs=-1, type=click.Path(path_type=Path), callback=read)


def _named_apart(sets: list[NeuronSet], paths: Sequence[Path]) -> list[NeuronSet]:
    """Sets that share a name are called by their files."""
    counts = Counter(those.name for those in sets)
    return [
        replace(those, name=f"{those.name} ({path.name})") if counts[those.name] > 1 else those
        for those, path in zip(sets, paths, strict=True)
    ]


def _output(required: bool = True) -> Callable[[Command], Command]:
    return together(
        click.option(
            "-o",
            "--output",
            type=click.Path(path_type=Path),
            required=required,
            help="File to write.",
        ),
        overwrite_option(),
    )


def _combination(operation: Operation, summary: str) -> None:
    @command.command(operation, help=summary)
    @_files(2)
    @_output()
    @json_option()
    def run(sets: list[NeuronSet], output: Path, overwrite: bool, as_json: bool) -> None:
        joined = combine(sets, operation)
        joined.write(output, overwrite=overwrite)
        if as_json:
            print_json({"neurons": str(output), "name": joined.name, "n_neurons": len(joined.neurons)})
            return
        print_counts(joined)
        print_line(f"Written to {output}")


_combination("union", "Neurons in any of the sets.")
_combination("intersect", "Neurons in all of the sets.")
_combination("minus", "Neurons of the first set that are in none of the others.")


@command.command("diff")
@_files(2)
@json_option()
def diff(sets: list[NeuronSet], as_json: bool) -> None:
    """What two sets share, what only one has, and which of their settings differ."""
    if len(sets) != 2:
        raise click.UsageError(f"diff compares two sets, {len(sets)} are given")
    first, second = sets
    found = difference(first, second)
    if as_json:
        print_json(
            {
                "first": first.name,
                "second": second.name,
                "both": len(found.both),
                "only_first": [list(neuron) for neuron in found.only_first],
                "only_second": [list(neuron) for neuron in found.only_second],
                "settings": {key: list(values) for key, values in found.settings.items()},
            }
        )
        return
    rows = found.by_module()
    total = ("all", len(found.both), len(found.only_first), len(found.only_second))
    heading = ("module", "both", f"only {first.name}", f"only {second.name}")
    print_table(f"{first.name} and {second.name}", heading, [*rows, total])
    print_table(
        "Settings that differ",
        ("setting", first.name, second.name),
        [(key, str(one), str(two)) for key, (one, two) in found.settings.items()],
    )


@command.command("overlap")
@_files(2)
@click.option(
    "--measure",
    type=click.Choice(["jaccard", "overlap"]),
    default="jaccard",
    show_default=True,
    help="jaccard: shared / in either. overlap: shared / size of the smaller set.",
)
@click.option(
    "--run",
    "run_folder",
    type=click.Path(path_type=Path),
    help="A run of the model: chance then keeps each set's counts per module and layer.",
)
@click.option("--figure", type=click.Path(path_type=Path), help="Draw matrix and tree into this PNG file.")
@overwrite_option()
@json_option()
def overlap(
    sets: list[NeuronSet],
    measure: Any,
    run_folder: Path | None,
    figure: Path | None,
    overwrite: bool,
    as_json: bool,
) -> None:
    """How alike sets are, beside what chance would give, and which of them go together."""
    from culnig.selection.similarity import similarity_matrix, tree

    if figure is not None and figure.exists() and not overwrite:
        raise OutputExistsError(f"{figure} exists; add --overwrite to replace it, or give another file")
    layout = None if run_folder is None else Run(run_folder).layout
    matrix, pairs = similarity_matrix(sets, measure, layout)
    names = [those.name for those in sets]
    branch = tree(names, matrix)
    if figure is not None:
        from culnig.report.similarity import similarity_figure

        similarity_figure(figure, names, matrix, measure)
    if as_json:
        print_json(
            {
                "measure": measure,
                "sets": [{"name": those.name, "n_neurons": len(those.neurons)} for those in sets],
                "matrix": matrix.tolist(),
                "pairs": [asdict(pair) for pair in pairs],
                "tree": branch.document(),
            }
        )
        return
    _print_pairs(pairs, measure)
    if 2 < len(sets) <= _SHOWN:
        numbers = [str(number + 1) for number in range(len(sets))]
        rows = [
            (f"{number}  {name}", *(f"{value:.2f}" for value in row))
            for number, name, row in zip(numbers, names, matrix, strict=True)
        ]
        print_table(f"Similarity ({measure})", ("set", *numbers), rows)
    print_tree(f"Tree by {measure} (average linkage)", _labels(branch))
    if figure is not None:
        print_line(f"Drawn in {figure}")


def _print_pairs(pairs: list[Pair], measure: str) -> None:
    """The most similar pairs with what chance would give."""
    ranked = sorted(pairs, key=lambda pair: -(pair.jaccard if measure == "jaccard" else pair.overlap))
    rows = [
        (
            f"{pair.first}, {pair.second}",
            pair.shared,
            None if pair.expected_shared is None else f"{pair.expected_shared:.1f}",
            pair.jaccard,
            pair.expected_jaccard,
            pair.overlap,
            pair.expected_overlap,
        )
        for pair in ranked[:_SHOWN]
    ]
    more = f", the {_SHOWN} most similar of {len(pairs)} pairs" if len(pairs) > _SHOWN else ""
    heading = ("sets", "shared", "by chance", "jaccard", "by chance", "overlap", "by chance")
    print_table(f"Overlap{more}", heading, rows)
    if any(pair.expected_shared is None for pair in pairs):
        print_line("By chance: not known, a file does not say what it was selected from; add --run RUN")


def _labels(branch: Branch) -> tuple[str, list[Any]]:
    label = branch.name if branch.name is not None else f"similarity {branch.similarity:.3f}"
    return label, [_labels(inner) for inner in branch.branches]


@command.command("convert")
@click.argument("file", type=click.Path(path_type=Path), nargs=-1, required=True)
@click.option(
    "--to",
    "form",
    type=click.Choice(["culnig", "paper-json", "lape", "csv"]),
    required=True,
    help="paper-json: the released code's. lape: a .pth file of index tensors, one group per set.",
)
@model_options(required=False)
@click.option(
    "--run", "run_folder", type=click.Path(path_type=Path), help="A run of the model, for its layout."
)
@click.option(
    "--module",
    default=MLP_GATE,
    show_default=True,
    help="The one module that a LAPE file speaks of.",
)
@click.option("--group", type=click.IntRange(min=0), help="Only this group of a LAPE file.")
@_output()
@json_option()
def convert(
    file: tuple[Path, ...],
    form: Any,
    model: ModelChoice | None,
    run_folder: Path | None,
    module: str,
    group: int | None,
    output: Path,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Read neuron sets of ours, the released code's JSON or LAPE's .pth, and write them in a format.

    Files of others do not say how wide their model is: name it with --run or --model.
    """
    from culnig.selection.formats import read_any, write_as

    layout, name = _layout(model, run_folder)
    sets = [those for path in file for those in read_any(path, layout, name, module)]
    if group is not None:
        if group >= len(sets):
            raise InputError(f"group {group} is asked for, there are {len(sets)}, numbered from 0")
        sets = [sets[group]]
    if form != "lape" and len(sets) > 1:
        raise InputError(f"{len(sets)} sets were read, a {form} file holds one; choose with --group")
    n_layers = None if layout is None else layout.n_layers
    write_as(sets, output, form, n_layers=n_layers, module=module, overwrite=overwrite)
    if as_json:
        written = [{"name": those.name, "n_neurons": len(those.neurons)} for those in sets]
        print_json({"file": str(output), "format": form, "sets": written})
        return
    print_line(f"{sum(len(those.neurons) for those in sets):,} neurons written to {output}")


def _layout(model: ModelChoice | None, run_folder: Path | None) -> tuple[Layout | None, str]:
    """Layout and name of the model that --run or --model names."""
    if model is not None and run_folder is not None:
        raise click.UsageError("--run and --model both name a layout; give one")
    if run_folder is not None:
        run = Run(run_folder)
        return run.layout, run.model
    if model is not None:
        return model.skeleton().bound.layout, model.source
    return None, ""
