"""How well a method finds the planted neurons of a world.

Tables come from `selection_tables`, rankings from `cut_pool` with the fraction 1, selections from
`select_general` and `select_specific` with the paper's fractions.

Neurons are ranked in the pool `mlp` and again in the pool `all` of culture-specific neurons (docs/method.md).
The second ranking is harder: query, key and value neurons that carry a culture's name to the answer compete
with the planted ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from culnig.core.statistics import zscores_over_cultures
from culnig.selection.culture_ranking import culture_scores
from culnig.selection.general import GeneralSettings, select_general
from culnig.selection.ranking import cut_pool
from culnig.selection.specific import SpecificSettings, select_specific
from culnig.selection.tables import SelectionTables, selection_tables
from culnig.store.run import Run
from culnig.validation.methods import RANDOM, Method
from culnig.validation.recovery import Recovery, mean_recovery, recovery

RANDOM_ORDERS = 20
"""Number of random rankings that RANDOM averages."""


@dataclass(frozen=True)
class MethodResult:
    """Recovery of the planted neurons by a method."""

    method: Method
    general: Recovery
    """Recovery of all planted neurons."""
    by_culture: dict[str, Recovery]
    """Recovery of the planted neurons of each culture."""

    @property
    def specific(self) -> Recovery:
        """Mean recovery over the cultures."""
        return mean_recovery(list(self.by_culture.values()))


@dataclass(frozen=True)
class Truth:
    """Flat indices of the planted neurons."""

    general: NDArray[np.int64]
    """All of them."""
    by_culture: Mapping[str, NDArray[np.int64]]


def judge(method: Method, runs: Mapping[str, Run], truth: Truth, seed: int) -> MethodResult:
    """Compare a method with the truth; `runs` holds a run for each `source`, `seed` is for random orders."""
    if method.statistic != RANDOM:
        tables = selection_tables(
            runs[method.source], use_control=method.control, use_exclusion=method.exclusion
        )
        return _judged(method, tables, truth)
    any_tables = selection_tables(next(iter(runs.values())), use_control=False, use_exclusion=False)
    generator = np.random.default_rng(seed)
    orders = [
        replace(any_tables, difference=generator.random(any_tables.difference.shape), total=None)
        for _ in range(RANDOM_ORDERS)
    ]
    results = [_judged(method, order, truth) for order in orders]
    return MethodResult(
        method,
        mean_recovery([result.general for result in results]),
        {
            culture: mean_recovery([result.by_culture[culture] for result in results])
            for culture in truth.by_culture
        },
    )


def _judged(method: Method, tables: SelectionTables, truth: Truth) -> MethodResult:
    settings = GeneralSettings()
    totals = tables.totals
    difference = totals.difference
    selected = select_general(tables, settings).flat(tables.layout)
    return MethodResult(
        method,
        _recovered(
            tables, lambda pool: difference, totals.exclusion, settings.exclude, selected, truth.general
        ),
        {culture: _of_culture(method, tables, culture, own) for culture, own in truth.by_culture.items()},
    )


def _of_culture(
    method: Method, tables: SelectionTables, culture: str, planted: NDArray[np.int64]
) -> Recovery:
    never = -float(len(tables.cultures))  # z of n values is never below −√(n − 1)
    settings = SpecificSettings(
        z=SpecificSettings().z if method.z else never, rank_by=method.rank_by, shrink=method.shrink
    )
    row = tables.cultures.index(culture)
    passing = zscores_over_cultures(tables.difference)[row] >= settings.z
    excluded = None if tables.exclusion is None else tables.exclusion.rows([culture])[0]
    selected = select_specific(tables, culture, settings).flat(tables.layout)

    def score(pool: NDArray[np.int64]) -> NDArray[np.float64]:
        return culture_scores(tables.difference, row, method.rank_by, pool, method.shrink).scores

    return _recovered(tables, score, excluded, settings.exclude, selected, planted, passing)


def _recovered(
    tables: SelectionTables,
    score: Callable[[NDArray[np.int64]], NDArray[np.float64]],
    excluded: NDArray[np.float64] | None,
    exclude: float,
    selected: NDArray[np.int64],
    planted: NDArray[np.int64],
    passing: NDArray[np.bool_] | None = None,
) -> Recovery:
    pools = [tables.layout.pool(name) for name in ("mlp", "all")]
    rankings = [cut_pool(pool, score(pool), 1.0, excluded, exclude).kept for pool in pools]
    if passing is not None:
        rankings = [ranking[passing[ranking]] for ranking in rankings]
    in_mlp, in_all = (
        recovery(ranking, selected, planted[np.isin(planted, pool)], len(pool))
        for ranking, pool in zip(rankings, pools, strict=True)
    )
    return replace(
        in_mlp,
        selected_precision=in_all.selected_precision,
        selected_recall=in_all.selected_recall,
        average_precision_all=in_all.average_precision,
        chance_average_precision_all=in_all.chance_average_precision,
    )
