"""Where selected neurons go and what is said of them: options of `select` commands, files, tables."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from culnig.cli.evidence import evidence_cells, evidence_headings, print_evidence
from culnig.cli.options import Command, json_option, overwrite_option, together
from culnig.cli.output import print_json, print_line, print_table
from culnig.errors import UnknownNameError
from culnig.selection.neuron_set import NeuronSet
from culnig.selection.presets import PublishedModel
from culnig.store.output_folder import files_in

ALL = "all"
_UNUSUAL = re.compile(r"[^\w-]+")
"""What a culture's name may hold and a file's name had better not."""


def output_options(what: str = "Neuron-set file.") -> Callable[[Command], Command]:
    """-o, --overwrite and --json."""
    return together(
        click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help=what),
        overwrite_option(),
        json_option(),
    )


def culture_files(folder: Path, cultures: tuple[str, ...], overwrite: bool) -> list[Path]:
    """A file per culture in a folder; OutputExistsError before anything is written."""
    names = [f"{_UNUSUAL.sub('_', culture)}.neurons.json" for culture in cultures]
    return files_in(folder, names, overwrite=overwrite)


def each_culture_option() -> Callable[[Command], Command]:
    """--culture, all of them unless told otherwise."""
    return click.option(
        "--culture",
        "cultures",
        multiple=True,
        default=(ALL,),
        show_default=True,
        help="The culture to select for; several times, or `all`, for a set of each (-o is a folder then).",
    )


def wanted_cultures(asked: tuple[str, ...], known: tuple[str, ...]) -> tuple[str, ...]:
    """What --culture asks for, each once; UnknownNameError for a culture that the run does not have."""
    wanted = known if ALL in asked else tuple(dict.fromkeys(asked))
    for culture in wanted:
        if culture not in known:
            raise UnknownNameError("culture of this run:", culture, known)
    return wanted


def write_sets(
    sets: list[NeuronSet],
    cultures: tuple[str, ...],
    all_of_them: bool,
    output: Path,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Write a set per culture, into a folder where there are several or all were asked for, and say so."""
    several = all_of_them or len(cultures) > 1
    files = culture_files(output, cultures, overwrite) if several else [output]
    made = list(zip(sets, files, strict=True))
    for chosen, file in made:
        chosen.write(file, overwrite=overwrite)
    tell(made, None, as_json, folder=output if several else None)


def tell(
    written: list[tuple[NeuronSet, Path]],
    published: PublishedModel | None,
    as_json: bool,
    folder: Path | None = None,
) -> None:
    """Print what was selected and where it lies."""
    for chosen, _ in written:
        if not chosen.neurons:
            click.echo(
                f"warning: {chosen.name}: no neuron is left; try larger fractions, a smaller z or a larger "
                "fdr",
                err=True,
            )
    if as_json:
        documents = [_document(chosen, file) for chosen, file in written]
        print_json(documents[0] if folder is None else {"folder": str(folder), "sets": documents})
        return
    if folder is None:
        print_counts(written[0][0])
    else:
        print_table(
            f"Specific neurons of {written[0][0].model}",
            ("set", "neurons", *evidence_headings(written[0][0]), "file"),
            [
                (chosen.name, len(chosen.neurons), *evidence_cells(chosen), file.name)
                for chosen, file in written
            ],
        )
    if published is not None and published.n_general is not None:
        n_here = len(written[0][0].neurons)
        print_line(f"Published for {published.name}: {published.n_general:,} neurons; here {n_here:,}")
    if folder is None:
        print_evidence(written[0][0])
    print_line(f"Written to {folder or written[0][1]}")


def _document(chosen: NeuronSet, output: Path) -> dict[str, Any]:
    return {
        "neurons": str(output),
        "name": chosen.name,
        "model": chosen.model,
        "n_neurons": len(chosen.neurons),
        "method": chosen.method,
        "by_module_and_layer": [
            {"module": module, "layer": layer, "n": n}
            for (module, layer), n in sorted(chosen.count_by_module_and_layer().items())
        ],
    }


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
