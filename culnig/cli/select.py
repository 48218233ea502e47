"""`culnig-engine select`: neuron sets from a run, no model needed."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast, get_args

import click

from culnig.cli import select_neighbours
from culnig.cli.options import PATH, SHARE, Command, defaults_of, out_options, together
from culnig.cli.options.evidence import evidence_options
from culnig.cli.selected import culture_option, is_folder, print_sets, run_options
from culnig.selection.culture_ranking import SHRINK, RankBy
from culnig.selection.general import GeneralSettings
from culnig.selection.random import Match
from culnig.selection.select import select_general, select_random, select_specific_sets, set_files, written
from culnig.selection.specific import SpecificSettings

_PAPER = click.Choice(["paper"])


@click.group("select")
def command() -> None:
    """Select neurons from the stored scores of a run."""


for neighbour in select_neighbours.COMMANDS:
    command.add_command(neighbour)


def _table_options(call: Command) -> Command:
    """Which benchmarks of the run, and which of its scores."""

    @functools.wraps(call)
    def with_roles(no_control: bool, no_exclusion: bool, **options: Any) -> Any:
        if no_control:
            options["control"] = False
        if no_exclusion:
            options["exclusion"] = False
        return call(**options)

    return cast(
        Command,
        together(
            run_options,
            click.option("--control", help="Control benchmark, if the run has several."),
            click.option("--exclusion", help="Exclusion benchmark, if the run has several."),
            click.option("--no-control", is_flag=True, help="Rank by the target alone."),
            click.option(
                "--no-exclusion", is_flag=True, help="Do not remove neurons by an exclusion benchmark."
            ),
            click.option("--scorer", help="Rank by the scores of this scorer of the run (`score --scorer`)."),
            click.option(
                "--compat",
                type=_PAPER,
                help="Rank by the scores of the paper's released code (`score --compat paper`).",
            ),
        )(with_roles),
    )


def _preset(choices: Any, more_help: str = "") -> Callable[[Command], Command]:
    return click.option(
        "--preset",
        type=choices,
        help="paper: use the paper's fractions, and print its counts next to yours if it covers this model."
        + more_help,
    )


def _setting(name: str, default: object, help_text: str, kind: Any = SHARE) -> Callable[[Command], Command]:
    """An option whose default is another one with a preset."""
    return click.option(name, type=kind, help=f"{help_text}  [default: {default}]")


class PoolShare(click.ParamType[Any]):
    """`NAME=FRACTION`."""

    name = "pool=fraction"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[str, float]:
        """Split and check one value."""
        if isinstance(value, tuple):
            return value
        pool, equals, fraction = str(value).partition("=")
        if not equals:
            self.fail(f"{value!r} is no pool and fraction, such as mlp=0.01", param, ctx)
        return pool, float(SHARE.convert(cast(Any, fraction), param, ctx))


@command.command("general")
@_table_options
@_preset(_PAPER)
@_setting("--top-mlp", GeneralSettings.top_mlp, "Share of gate neurons to keep.")
@_setting("--top-attention", GeneralSettings.top_attention, "Share of query, key and value neurons to keep.")
@_setting(
    "--exclude",
    GeneralSettings.exclude,
    "Share of each pool to remove, highest exclusion scores first.",
)
@click.option(
    "--pool",
    "pools",
    type=PoolShare(),
    multiple=True,
    help="Use this pool instead of the two above: mlp, attention, all or a module, with the share to keep, "
    "such as mlp.up_proj=0.01; may be given several times.",
)
@evidence_options
@out_options("Neuron-set file.")
def general(run: Path, out: Path, as_json: bool, **options: Any) -> None:
    """Neurons that matter for all cultures together."""
    print_sets([select_general(run, out=out, **options)], [out], None, as_json)


@defaults_of(select_specific_sets)
@command.command("specific")
@_table_options
@_preset(
    click.Choice(["paper", "best"]),
    " best: rank by shrunken z, from the scores that find most of a culture's own neurons where they are "
    "known, of those that the run has (relp-log-odds, relp, or gradient x activation).",
)
@culture_option(required=True)
@_setting("--top", SpecificSettings.top, "Share of the pool to keep.")
@_setting("--pool", SpecificSettings.pool, "The pool: all, mlp, attention, or a module.", str)
@_setting(
    "--exclude",
    SpecificSettings.exclude,
    "Share of the pool to remove, highest exclusion scores of the culture first.",
)
@_setting("--z", SpecificSettings.z, "Minimum z-score among the cultures.", float)
@_setting(
    "--rank-by",
    SpecificSettings.rank_by,
    "The culture's target - control (difference), how far that is above its mean over the cultures (margin), "
    "the same in standard deviations (shrunken-z), or the culture's part of the neuron's scores (share).",
    click.Choice(get_args(RankBy)),
)
@_setting(
    "--shrink",
    SHRINK,
    "For shrunken-z and share: the quantile of the neurons' spread over cultures that is added to each "
    "neuron's own, so that neurons that hardly vary do not come first.",
    SHARE,
)
@evidence_options
@click.option(
    "--against",
    type=click.Choice(["others", "control"]),
    help="What --fdr tests the culture against: the other cultures, or its own control.",
)
@out_options("Neuron-set file; a folder for several cultures.")
def specific(
    run: Path, cultures: tuple[str, ...], out: Path, overwrite: bool, as_json: bool, **options: Any
) -> None:
    """Neurons that matter for one culture more than for the others."""
    folder = out if is_folder(cultures) else None
    sets = select_specific_sets(run, cultures, out=folder, overwrite=overwrite, **options)
    if folder is None:
        (chosen,) = sets.values()
        written(chosen, out, overwrite, run)
    files = [out] if folder is None else set_files(folder, list(sets), True, run)
    print_sets(list(sets.values()), files, folder, as_json)


@defaults_of(select_random)
@command.command("random")
@click.argument("run", type=PATH)
@click.option("--like", type=PATH, required=True, help="Neuron set whose counts are matched.")
@click.option("--seed", type=click.IntRange(min=0), help="Seed of the random neurons.")
@click.option(
    "--match",
    type=click.Choice(get_args(Match)),
    help="Match counts per module and layer, or only the total, as the paper does.",
)
@out_options("Neuron-set file.")
def random(run: Path, like: Path, out: Path, as_json: bool, **options: Any) -> None:
    """Random neurons with the counts of a given set, none of them in it."""
    print_sets([select_random(run, like, out=out, **options)], [out], None, as_json)
