"""Neighbouring methods as a user calls them: LAPE, CAPE, CRISPR, integrated gradients, knowledge neurons.

The functions return a set or sets by culture; `out` is the file, or the folder, that they are written to.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from culnig.selection.by_scorer import SCORERS, TopSettings, select_by_scorer
from culnig.selection.knowledge import KnowledgeSettings, prompt_counts, select_knowledge
from culnig.selection.lape import SCORER, LapeSettings, activation_shares
from culnig.selection.lape import select_lape as lape_sets
from culnig.selection.neuron_set import NeuronSet
from culnig.selection.select import ALL, known_cultures, opened, set_files, written, written_each
from culnig.selection.tables import SelectionTables, selection_tables
from culnig.store.run import Run


def select_lape(
    run: Run | Path | str,
    cultures: Sequence[str] = (ALL,),
    *,
    target: str | None = None,
    top: float = LapeSettings.top,
    percentile: float = LapeSettings.percentile,
    pool: str = LapeSettings.pool,
    out: Path | str | None = None,
    overwrite: bool = False,
) -> dict[str, NeuronSet]:
    """Neurons that are active for few cultures, by entropy (Tang et al. 2024), by culture.

    Needs the scorer `positive-tokens` in the run. `top` is the share of the pool to keep for all cultures
    together, `percentile` the percentile of all activation shares that a neuron must exceed for a culture.
    """
    return _by_entropy("lape", run, cultures, target, LapeSettings(top, percentile, pool), out, overwrite)


def select_cape(
    run: Run | Path | str,
    cultures: Sequence[str] = (ALL,),
    *,
    target: str | None = None,
    top: float = LapeSettings.top,
    percentile: float = LapeSettings.percentile,
    pool: str = LapeSettings.pool,
    out: Path | str | None = None,
    overwrite: bool = False,
) -> dict[str, NeuronSet]:
    """The same selection as `select_lape`, under its name for cultures (arXiv 2508.02241)."""
    return _by_entropy("cape", run, cultures, target, LapeSettings(top, percentile, pool), out, overwrite)


def _by_entropy(
    method: str,
    run: Run | Path | str,
    cultures: Sequence[str],
    target: str | None,
    settings: LapeSettings,
    out: Path | str | None,
    overwrite: bool,
) -> dict[str, NeuronSet]:
    shares = activation_shares(opened(run, SCORER), target)
    chosen = known_cultures(cultures, shares.cultures)
    files = None if out is None else set_files(Path(out), chosen, overwrite, run)
    sets = lape_sets(shares, settings, method)
    return written_each({culture: sets[culture] for culture in chosen}, files, overwrite, run)


def select_crispr(
    run: Run | Path | str,
    culture: str | None = None,
    *,
    target: str | None = None,
    top: float = TopSettings.top,
    pool: str = TopSettings.pool,
    out: Path | str | None = None,
    overwrite: bool = False,
) -> NeuronSet:
    """Neurons that raise the most probable wrong label (Yang et al. 2024), for a culture or all together.

    Needs the scorer `crispr` in the run. `top` is the share of the pool to keep.
    """
    return written(_by_scorer(run, "crispr", culture, target, TopSettings(top, pool)), out, overwrite, run)


def select_ig(
    run: Run | Path | str,
    culture: str | None = None,
    *,
    target: str | None = None,
    top: float = TopSettings.top,
    pool: str = TopSettings.pool,
    out: Path | str | None = None,
    overwrite: bool = False,
) -> NeuronSet:
    """Neurons with the largest integrated gradients (Dai et al. 2022), for a culture or all together.

    Needs the scorer `integrated-gradients` in the run. `top` is the share of the pool to keep.
    """
    return written(_by_scorer(run, "ig", culture, target, TopSettings(top, pool)), out, overwrite, run)


def sets_by_scorer(
    run: Run | Path | str,
    cultures: Sequence[str] = (ALL,),
    *,
    method: str,
    target: str | None = None,
    top: float = TopSettings.top,
    pool: str = TopSettings.pool,
    out: Path | str | None = None,
    overwrite: bool = False,
) -> dict[str, NeuronSet]:
    """The sets of `select_crispr` or `select_ig` by culture; the scores are read once."""
    tables = _tables(run, method, target)
    chosen = known_cultures(cultures, tables.cultures)
    files = None if out is None else set_files(Path(out), chosen, overwrite, run)
    settings = TopSettings(top, pool)
    sets = {culture: select_by_scorer(tables, method, culture, settings) for culture in chosen}
    return written_each(sets, files, overwrite, run)


def _by_scorer(
    run: Run | Path | str, method: str, culture: str | None, target: str | None, settings: TopSettings
) -> NeuronSet:
    tables = _tables(run, method, target)
    if culture is not None:
        (culture,) = known_cultures((culture,), tables.cultures)
    return select_by_scorer(tables, method, culture, settings)


def _tables(run: Run | Path | str, method: str, target: str | None) -> SelectionTables:
    return selection_tables(
        opened(run, SCORERS[method]), target=target, use_control=False, use_exclusion=False
    )


def select_knowledge_neurons(
    run: Run | Path | str,
    cultures: Sequence[str] = (ALL,),
    *,
    target: str | None = None,
    threshold: float = KnowledgeSettings.threshold,
    shared: float = KnowledgeSettings.shared,
    pool: str = KnowledgeSettings.pool,
    out: Path | str | None = None,
    overwrite: bool = False,
) -> dict[str, NeuronSet]:
    """Neurons that stand out in most prompts, by the rule of Dai et al. 2022, by culture.

    Needs a run of level `item`. `threshold` is the share of a prompt's largest score that a neuron must
    reach, `shared` the share of the culture's prompts in which it must reach that.
    """
    settings = KnowledgeSettings(threshold, shared, pool)
    counted = prompt_counts(opened(run), settings, target)
    chosen = known_cultures(cultures, counted.cultures)
    files = None if out is None else set_files(Path(out), chosen, overwrite, run)
    sets = {culture: select_knowledge(counted, culture, settings) for culture in chosen}
    return written_each(sets, files, overwrite, run)
