"""The selections as users call them: from a run, with every option as a keyword argument, to neuron sets.

The rules themselves are in the modules of each method; these functions open the run, choose its benchmarks,
add evidence and write files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from culnig.core.text import file_names
from culnig.cultures.spellings import culture_keys
from culnig.errors import (
    InputError,
    SelectionError,
    argument,
    check_choice,
    option,
)
from culnig.scorers.base import RELEASED_CODE
from culnig.selection.culture_ranking import RankBy
from culnig.selection.evidence import Evidence, EvidenceOptions, Selection
from culnig.selection.general import GeneralSettings
from culnig.selection.general import select_general as general_set
from culnig.selection.neuron_set import NeuronSet, as_neuron_set
from culnig.selection.presets import PublishedModel, best_preset, paper_preset
from culnig.selection.specific import SpecificSettings
from culnig.selection.specific import select_specific as specific_set
from culnig.selection.tables import choose_roles, general_totals, selection_tables
from culnig.store.output_folder import check_files, owned_files
from culnig.store.run import Run

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from culnig.selection.random import Match
    from culnig.selection.significance import Against

ALL = "all"
"""Stands for every culture of a run."""
PAPER = "paper"
BEST = "best"

BenchmarkName = str | Literal[False] | None
"""A benchmark of the run by name, None for the only one of its role, False to select without it."""


def select_general(
    run: Run | Path | str,
    *,
    target: str | None = None,
    control: BenchmarkName = None,
    exclusion: BenchmarkName = None,
    scorer: str | None = None,
    compat: Literal["paper"] | None = None,
    top_mlp: float | None = None,
    top_attention: float | None = None,
    exclude: float | None = None,
    pools: Mapping[str, float] | Sequence[tuple[str, float]] = (),
    preset: Literal["paper"] | None = None,
    out: Path | str | None = None,
    overwrite: bool = False,
    **evidence: Unpack[EvidenceOptions],
) -> NeuronSet:
    """Neurons that matter for all cultures together, best first (docs/method.md).

    `top_mlp` and `top_attention` are the shares of the two pools to keep (default 0.01 and 0.002), `exclude`
    is the share of each pool to remove, highest exclusion scores first (0.01). `pools` replaces the two
    pools with others, each with its share. `preset="paper"` uses the paper's shares. `control=False` ranks
    by the target alone, `exclusion=False` removes nothing. `scorer` ranks by another scorer of the run,
    `compat="paper"` by that of the paper's released code. Evidence: see `Evidence`. `out` is a file to write.
    """
    stored = opened(run, scorer, compat)
    shares = dict(pools)
    if len(shares) < len(pools):
        raise SelectionError(
            f"{argument('pools')} names a pool twice: {', '.join(pair[0] for pair in pools)}"
        )
    given = _given(top_mlp=top_mlp, top_attention=top_attention, exclude=exclude, pools=tuple(shares.items()))
    if shares:
        _refuse_beside("pools", given, ("top_mlp", "top_attention"))
    settings, published = GeneralSettings(**given), None
    _check_preset(preset, (PAPER,), given)
    if preset == PAPER:
        settings, published = paper_preset(stored.layout).general, paper_preset(stored.layout).model
    roles = _roles(target, control, False if settings.exclude == 0 else exclusion)
    chosen = _marked(general_set(general_totals(stored, **roles), settings), preset, published)
    selection = Selection(
        stored,
        choose_roles(stored, **roles),
        lambda tables: general_set(tables, settings),
        list(settings.cuts),
    )
    return written(selection.with_evidence(chosen, Evidence(**evidence)), out, overwrite, run)


def select_specific(
    run: Run | Path | str,
    culture: str,
    *,
    out: Path | str | None = None,
    overwrite: bool = False,
    **options: Any,
) -> NeuronSet:
    """Neurons that matter for one culture more than for the others, best first (docs/method.md).

    `options` are those of `select_specific_sets`; `out` is a file to write.
    """
    if culture == ALL:
        raise InputError(f"{ALL!r} is not a single culture; select_specific_sets returns one set per culture")
    (chosen,) = select_specific_sets(run, (culture,), **options).values()
    return written(chosen, out, overwrite, run)


def select_specific_sets(
    run: Run | Path | str,
    cultures: Sequence[str] = (ALL,),
    *,
    target: str | None = None,
    control: BenchmarkName = None,
    exclusion: BenchmarkName = None,
    scorer: str | None = None,
    compat: Literal["paper"] | None = None,
    top: float | None = None,
    pool: str | None = None,
    exclude: float | None = None,
    z: float | None = None,
    rank_by: RankBy | None = None,
    shrink: float | None = None,
    preset: Literal["paper", "best"] | None = None,
    against: Against = "others",
    out: Path | str | None = None,
    overwrite: bool = False,
    **evidence: Unpack[EvidenceOptions],
) -> dict[str, NeuronSet]:
    """The specific neurons of each culture, as a dict by culture; `("all",)` means every culture of the run.

    `top` is the share of `pool` that is kept (default 0.003 of `all`), `exclude` the share of the pool to
    remove, highest exclusion scores of the culture first (0.01), `z` the minimum z-score among the cultures
    (0.5). `rank_by` is target − control as in the paper ("difference"), how far that is above its mean over
    the cultures ("margin"), the same in standard deviations ("shrunken-z"), or the culture's part of the
    neuron's scores ("share"); in the last two, `shrink` is the quantile of the neurons' spread that keeps
    down neurons that hardly vary (0.5). `preset="best"` is what finds most planted neurons: by shrunken z,
    from the best scorer that the run has (`best_preset`). `against` is what `fdr` tests a culture against:
    the other cultures, or its own control. `out` is a folder to write one file per set to. Everything else is
    as in `select_general`.
    """
    given = _given(top=top, exclude=exclude, z=z, pool=pool, rank_by=rank_by, shrink=shrink)
    settings = SpecificSettings(**given)
    _check_preset(preset, (PAPER, BEST), given)
    stored = opened(run, scorer, compat)
    if preset == PAPER:
        settings = paper_preset(stored.layout).specific
    elif preset == BEST:
        best, settings = best_preset(stored.record["settings"].get("scorers", []))
        stored = stored if scorer or compat or stored.scorer else opened(stored, best)
    check_choice("against", against, ("others", "control"))
    evidence_asked = Evidence(**evidence)
    which = _roles(target, control, False if settings.exclude == 0 else exclusion)
    tables = selection_tables(stored, **which)
    chosen_cultures = known_cultures(cultures, tables.cultures)
    if tables.exclusion is not None:
        _check_exclusion(chosen_cultures, tables.exclusion.cultures)
    files = None if out is None else set_files(Path(out), chosen_cultures, overwrite, run)
    roles = choose_roles(stored, **which)
    sets = {}
    for culture in chosen_cultures:
        chosen = _marked(specific_set(tables, culture, settings), preset, None)
        selection = Selection(
            stored,
            roles,
            lambda again, culture=culture: specific_set(again, culture, settings),  # type: ignore[misc]
            [settings.pool],
            culture,
            against,
        )
        sets[culture] = selection.with_evidence(chosen, evidence_asked)
    return written_each(sets, files, overwrite, run)


def select_random(
    run: Run | Path | str,
    like: NeuronSet | Path | str,
    *,
    seed: int = 0,
    match: Match = "module",
    out: Path | str | None = None,
    overwrite: bool = False,
) -> NeuronSet:
    """Random neurons with the counts of the set `like`, none of them in it.

    `match="module"` draws as many in each module and layer as `like` has there; `match="total"` matches only
    the total, as the paper does. `out` is a file to write.
    """
    from culnig.selection.random import select_random as random_set

    chosen = random_set(as_neuron_set(like), opened(run).layout, seed, match)
    return written(chosen, out, overwrite, run, like)


def known_cultures(asked: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """The cultures asked for, each once; UnknownNameError for a culture that the run does not have."""
    asked = (asked,) if isinstance(asked, str) else asked
    return tuple(known) if ALL in asked else culture_keys(asked, known)


def set_files(folder: Path, cultures: Sequence[str], overwrite: bool, run: Run | Path | str) -> list[Path]:
    """A file for each culture in a folder; errors of `check_files` before anything is written."""
    names = [f"{name}.neurons.json" for name in file_names(cultures)]
    return check_files(folder, names, overwrite=overwrite, inputs=(run,))


def opened(run: Run | Path | str, scorer: str | None = None, compat: str | None = None) -> Run:
    """The run with the scores of a scorer; an opened run keeps its own if none is named."""
    check_choice("compat", compat, (None, PAPER))
    if compat is not None:
        if scorer is not None:
            raise InputError(f"{option('compat', PAPER)} names a scorer; leave out {argument('scorer')}")
        scorer = RELEASED_CODE
    if isinstance(run, Run):
        return run if scorer in (None, run.scorer) else Run(run.folder, scorer)
    return Run(Path(run), scorer)


def _given(**settings: Any) -> dict[str, Any]:
    """The settings that the caller chose."""
    return {name: value for name, value in settings.items() if value is not None and value != ()}


def _refuse_beside(name: str, given: Mapping[str, Any], settled: Sequence[str]) -> None:
    """InputError if settings were given together with an argument that determines them."""
    if both := [setting for setting in settled if setting in given]:
        raise InputError(
            f"{argument(name)} already sets {', '.join(map(argument, both))}; give one or the other"
        )


def _check_preset(preset: str | None, allowed: Sequence[str], given: Mapping[str, Any]) -> None:
    """InputError for an unknown preset, or one beside settings that it determines."""
    check_choice("preset", preset, (None, *allowed))
    if preset is not None:
        _refuse_beside("preset", given, list(given))


def _roles(target: str | None, control: BenchmarkName, exclusion: BenchmarkName) -> dict[str, Any]:
    return {
        "target": target,
        "control": control or None,
        "exclusion": exclusion or None,
        "use_control": control is not False,
        "use_exclusion": exclusion is not False,
    }


def _check_exclusion(cultures: Sequence[str], excluded: Sequence[str]) -> None:
    """SelectionError that names all cultures without an exclusion at once."""
    if missing := [culture for culture in cultures if culture not in excluded]:
        raise SelectionError(
            f"the exclusion benchmark has no items of {', '.join(missing)}, only of {', '.join(excluded)}; "
            f"choose from these with {argument('cultures')}, or select without exclusion: "
            f"{option('exclusion', False)} or {option('exclude', 0)}"
        )


def _marked(chosen: NeuronSet, preset: str | None, published: PublishedModel | None) -> NeuronSet:
    """The set with the preset that it was made with."""
    if preset is None:
        return chosen
    known = {"published": asdict(published)} if published else {}
    return replace(chosen, method={**chosen.method, "preset": preset, **known})


def written(chosen: NeuronSet, out: Path | str | None, overwrite: bool, *inputs: Any) -> NeuronSet:
    """The set, after it is written to `out` where that is given; `inputs` are what it was made from."""
    if out is not None:
        chosen.write(Path(out), overwrite=overwrite, inputs=inputs)
    return chosen


def written_each(
    sets: dict[str, NeuronSet], files: Sequence[Path] | None, overwrite: bool, *inputs: Any
) -> dict[str, NeuronSet]:
    """The sets, after each is written to its file where there are any."""
    if files:
        names = [file.name for file in files]
        with owned_files(files[0].parent, names, overwrite=overwrite, inputs=inputs):
            for chosen, file in zip(sets.values(), files, strict=True):
                chosen.write(file, overwrite=overwrite)
    return sets
