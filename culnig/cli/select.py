"""`culnig-engine select`: neuron sets from a run, no model needed."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, cast

import click

from culnig.cli.evidence import (
    Evidence,
    evidence_options,
    gather,
)
from culnig.cli.options import Command, together
from culnig.cli.select_lape import cape, lape
from culnig.cli.select_neighbours import crispr, ig, knowledge_neurons
from culnig.cli.selected import ALL, culture_files, output_options, tell
from culnig.errors import SelectionError, UnknownNameError
from culnig.scorers.base import RELEASED_CODE
from culnig.selection.general import GeneralSettings, select_general
from culnig.selection.neuron_set import NeuronSet, read_neuron_set
from culnig.selection.presets import PublishedModel, paper_preset
from culnig.selection.specific import SpecificSettings, select_specific
from culnig.selection.tables import choose_roles, general_totals, selection_tables
from culnig.store.run import Run

_FRACTION = click.FloatRange(0, 1)


@click.group("select")
def command() -> None:
    """Select neurons from the stored scores of a run."""


def _table_options(call: Command) -> Command:
    decorate: Any = together(
        click.argument("run", type=click.Path(path_type=Path)),
        click.option("--target", help="Target benchmark, where the run has several."),
        click.option("--control", help="Control benchmark, where the run has several."),
        click.option("--exclusion", help="Exclusion benchmark, where the run has several."),
        click.option("--no-control", is_flag=True, help="Rank by the target alone."),
        click.option("--no-exclusion", is_flag=True, help="Remove no neurons by an exclusion benchmark."),
        click.option("--scorer", help="Rank by the scores of this scorer of the run (`score --scorer`)."),
        click.option(
            "--compat",
            type=click.Choice(["paper"]),
            help="Rank by the scores of the paper's released code (`score --compat paper`).",
        ),
    )
    found: Command = decorate(call)
    return found


_PRESET = click.option(
    "--preset",
    type=click.Choice(["paper"]),
    help="The paper's fractions, and its figures beside yours where it has this model.",
)


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
        return pool, float(_FRACTION.convert(cast(Any, fraction), param, ctx))


for _neighbour in (lape, cape, crispr, ig, knowledge_neurons):
    command.add_command(_neighbour)


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
@click.option(
    "--pool",
    "pools",
    type=PoolShare(),
    multiple=True,
    help="Other pools in place of the two: mlp, attention, all or a module, and the share kept, such as "
    "mlp.up_proj=0.01; may be given several times.",
)
@_PRESET
@evidence_options
@output_options()
@click.pass_context
def general(
    ctx: click.Context,
    run: Path,
    target: str | None,
    control: str | None,
    exclusion: str | None,
    no_control: bool,
    no_exclusion: bool,
    scorer: str | None,
    compat: str | None,
    top_mlp: float,
    top_attention: float,
    exclude: float,
    pools: tuple[tuple[str, float], ...],
    preset: str | None,
    evidence: Evidence,
    output: Path,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Neurons that matter for all cultures together."""
    _refuse_together(ctx, "pools", ("top_mlp", "top_attention"))
    _refuse_together(ctx, "preset", ("top_mlp", "top_attention", "exclude", "pools"))
    names = [name for name, _ in pools]
    if len(set(names)) < len(names):
        raise click.UsageError(f"--pool names a pool twice: {', '.join(names)}")
    opened = _open(run, scorer, compat)
    settings, published = GeneralSettings(top_mlp, top_attention, exclude, pools), None
    if preset:
        found = paper_preset(opened.layout)
        settings, published = found.general, found.model
    which = _which(target, control, exclusion, no_control, no_exclusion or settings.exclude == 0)
    chosen = _with_preset(select_general(general_totals(opened, **which), settings), preset, published)
    roles = choose_roles(opened, **which)
    chosen = gather(
        opened, roles, chosen, lambda tables: select_general(tables, settings), list(settings.cuts), evidence
    )
    chosen.write(output, overwrite=overwrite)
    tell([(chosen, output)], published, as_json)


@command.command("specific")
@_table_options
@click.option(
    "--culture",
    "cultures",
    multiple=True,
    required=True,
    help="The culture to select for; several times, or `all`, for a set of each (-o is a folder then).",
)
@click.option("--top", type=_FRACTION, default=0.003, show_default=True, help="Share of the one pool kept.")
@click.option(
    "--pool",
    default="all",
    show_default=True,
    help="The one pool: all, mlp, attention, or a module.",
)
@click.option(
    "--exclude",
    type=_FRACTION,
    default=0.01,
    show_default=True,
    help="Share of the pool, by the culture's exclusion score, that is removed again.",
)
@click.option("--z", type=float, default=0.5, show_default=True, help="Least z among the cultures.")
@click.option(
    "--rank-by",
    type=click.Choice(["difference", "margin"]),
    default="difference",
    show_default=True,
    help="The culture's target - control, or how far that is above its mean over the cultures.",
)
@_PRESET
@evidence_options
@click.option(
    "--against",
    type=click.Choice(["others", "control"]),
    default="others",
    show_default=True,
    help="What --fdr tests the culture against: the other cultures, or its own control.",
)
@output_options("Neuron-set file; a folder for several cultures.")
@click.pass_context
def specific(
    ctx: click.Context,
    run: Path,
    target: str | None,
    control: str | None,
    exclusion: str | None,
    no_control: bool,
    no_exclusion: bool,
    scorer: str | None,
    compat: str | None,
    cultures: tuple[str, ...],
    top: float,
    pool: str,
    exclude: float,
    z: float,
    rank_by: Any,
    preset: str | None,
    evidence: Evidence,
    against: Any,
    output: Path,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Neurons that matter for one culture more than for the others."""
    _refuse_together(ctx, "preset", ("top", "exclude", "z", "pool", "rank_by"))
    opened = _open(run, scorer, compat)
    settings = SpecificSettings(top, exclude, z, pool, rank_by)
    if preset:
        settings = paper_preset(opened.layout).specific
    which = _which(target, control, exclusion, no_control, no_exclusion or settings.exclude == 0)
    tables = selection_tables(opened, **which)
    wanted = tables.cultures if ALL in cultures else tuple(dict.fromkeys(cultures))
    several = ALL in cultures or len(wanted) > 1
    if tables.exclusion is not None:
        _check_exclusion(wanted, tables.cultures, tables.exclusion.cultures)
    files = culture_files(output, wanted, overwrite) if several else [output]
    roles = choose_roles(opened, **which)
    sets = [
        gather(
            *(opened, roles),
            _with_preset(select_specific(tables, name, settings), preset, None),
            lambda resampled, name=name: select_specific(resampled, name, settings),  # type: ignore[misc]
            [settings.pool],
            evidence,
            culture=name,
            against=against,
        )
        for name in wanted
    ]
    for chosen, file in zip(sets, files, strict=True):
        chosen.write(file, overwrite=overwrite)
    tell(list(zip(sets, files, strict=True)), None, as_json, folder=output if several else None)


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
@output_options()
def random(
    run: Path, like: Path, seed: int, match: Any, output: Path, overwrite: bool, as_json: bool
) -> None:
    """Random neurons in the shape of a given set, none of them in it."""
    from culnig.selection.random import select_random

    chosen = select_random(read_neuron_set(like), Run(run).layout, seed, match)
    chosen.write(output, overwrite=overwrite)
    tell([(chosen, output)], None, as_json)


def _open(folder: Path, scorer: str | None, compat: str | None) -> Run:
    if compat is not None and scorer is not None:
        raise click.UsageError("--compat paper names a scorer; leave out --scorer")
    return Run(folder, RELEASED_CODE if compat else scorer)


def _refuse_together(ctx: click.Context, option: str, others: tuple[str, ...]) -> None:
    """A usage error where an option was given beside one that settles the same thing."""
    source = click.core.ParameterSource.COMMANDLINE
    if ctx.get_parameter_source(option) != source:
        return
    given = [name for name in others if ctx.get_parameter_source(name) == source]
    if given:
        spelled = ", ".join("--" + _spelling(name) for name in given)
        raise click.UsageError(f"--{_spelling(option)} settles what {spelled} would; give one or the other")


def _spelling(name: str) -> str:
    return {"pools": "pool"}.get(name, name.replace("_", "-"))


def _which(
    target: str | None, control: str | None, exclusion: str | None, no_control: bool, no_exclusion: bool
) -> dict[str, Any]:
    return {
        "target": target,
        "control": control,
        "exclusion": exclusion,
        "use_control": not no_control,
        "use_exclusion": not no_exclusion,
    }


def _check_exclusion(wanted: tuple[str, ...], known: tuple[str, ...], excluded: tuple[str, ...]) -> None:
    """All cultures that are unknown or lack an exclusion at once, before any file is written."""
    for culture in wanted:
        if culture not in known:
            raise UnknownNameError("culture of this run:", culture, known)
    missing = [culture for culture in wanted if culture not in excluded]
    if missing:
        raise SelectionError(
            f"the exclusion benchmark has no items of {', '.join(missing)}, only of {', '.join(excluded)}; "
            "name these with --culture, or go on without it: --no-exclusion or --exclude 0"
        )


def _with_preset(chosen: NeuronSet, preset: str | None, published: PublishedModel | None) -> NeuronSet:
    if preset is None:
        return chosen
    known = {"published": asdict(published)} if published else {}
    return replace(chosen, method={**chosen.method, "preset": preset, **known})
