"""`culnig-engine select lape`, `cape`, `crispr`, `ig` and `knowledge-neurons`: neighbouring methods."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import click

from culnig.cli.options import SHARE, Command, defaults_of, out_options, together
from culnig.cli.selected import culture_option, is_folder, print_sets, run_options
from culnig.selection import neighbours
from culnig.selection.neuron_set import NeuronSet
from culnig.selection.select import set_files, written

_POSITIVE = click.FloatRange(0, 1, min_open=True)


def _command(
    name: str,
    function: Callable[..., Any],
    sets_of: Callable[..., dict[str, NeuronSet]],
    help_text: str,
    *options: Callable[[Command], Command],
) -> click.Command:
    """A command that selects by `function`; `sets_of` makes the sets of several cultures."""

    def select(
        run: Path, cultures: tuple[str, ...], out: Path, overwrite: bool, as_json: bool, **settings: Any
    ) -> None:
        folder = out if is_folder(cultures) else None
        if cultures:
            sets = list(sets_of(run, cultures, out=folder, overwrite=overwrite, **settings).values())
        else:
            sets = [function(run, **settings)]
        files = [out]
        if folder is None:
            written(sets[0], out, overwrite, run)
        else:
            files = set_files(folder, [chosen.method["culture"] for chosen in sets], True, run)
        print_sets(sets, files, folder, as_json)

    decorators: tuple[Any, ...] = (
        run_options,
        *options,
        out_options("Neuron-set file; a folder for several cultures."),
    )
    return defaults_of(function)(click.command(name, help=help_text)(together(*decorators)(select)))


_LAPE = (
    culture_option(),
    click.option("--top", type=SHARE, help="Share of the pool to keep, over all cultures."),
    click.option(
        "--percentile",
        type=click.FloatRange(0, 100, max_open=True),
        help="Percentile of all activation shares that a neuron must exceed for a culture.",
    ),
    click.option("--pool", help="mlp, or a module."),
)
_BY_SCORER = (
    culture_option(" Without it, all cultures together."),
    click.option("--top", type=SHARE, help="Share of the pool to keep."),
    click.option("--pool", help="mlp, attention, all, or a module."),
)
_KNOWLEDGE = (
    culture_option(),
    click.option(
        "--threshold",
        type=_POSITIVE,
        help="Share of a prompt's largest score that a neuron must reach.",
    ),
    click.option(
        "--shared", type=_POSITIVE, help="Share of the culture's prompts in which it must reach that."
    ),
    click.option("--pool", help="mlp, attention, all, or a module."),
)

COMMANDS = (
    _command(
        "lape",
        neighbours.select_lape,
        neighbours.select_lape,
        "Neurons that are active for few cultures, by entropy (Tang et al. 2024).",
        *_LAPE,
    ),
    _command(
        "cape",
        neighbours.select_cape,
        neighbours.select_cape,
        "The same selection as `lape`, under its name for cultures (arXiv 2508.02241).",
        *_LAPE,
    ),
    _command(
        "crispr",
        neighbours.select_crispr,
        partial(neighbours.sets_by_scorer, method="crispr"),
        "Neurons that raise the most probable wrong label (Yang et al. 2024).",
        *_BY_SCORER,
    ),
    _command(
        "ig",
        neighbours.select_ig,
        partial(neighbours.sets_by_scorer, method="ig"),
        "Neurons with the largest integrated gradients (the score of Dai et al. 2022).",
        *_BY_SCORER,
    ),
    _command(
        "knowledge-neurons",
        neighbours.select_knowledge_neurons,
        neighbours.select_knowledge_neurons,
        "Neurons that stand out in most prompts, by the rule of Dai et al. 2022 (needs a run of --level "
        "item).",
        *_KNOWLEDGE,
    ),
)
