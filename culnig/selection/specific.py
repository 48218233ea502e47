"""Culture-specific neurons (METHOD §4: Yamamoto et al. 2026, arXiv 2510.08284)."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from culnig.errors import SelectionError, UnknownNameError
from culnig.selection.neuron_set import NeuronSet
from culnig.selection.pools import pool_positions
from culnig.selection.ranking import check_fraction, cut_pool
from culnig.selection.tables import SelectionTables

MIN_CULTURES = 3

RankBy = Literal["difference", "margin"]
"""target − control of the culture, as the paper does, or that less its mean over the cultures."""


@dataclass(frozen=True)
class SpecificSettings:
    """Fractions of the one pool, and the least z."""

    top: float = 0.003
    """Share of the pool `all` that is kept by target − control of the culture (see `rank_by`)."""
    exclude: float = 0.01
    """Share of the pool, by the culture's exclusion score, that is removed from what was kept."""
    z: float = 0.5
    """Least z-score of the culture's target − control among all cultures."""
    pool: str = "all"
    """Pool or module that is ranked."""
    rank_by: RankBy = "difference"
    """What the cut is made by."""


def select_specific(
    tables: SelectionTables, culture: str, settings: SpecificSettings | None = None
) -> NeuronSet:
    """Neurons that matter for one culture more than for the others, best first."""
    settings = settings or SpecificSettings()
    check_fraction("top", settings.top)
    check_fraction("exclude", settings.exclude)
    if not math.isfinite(settings.z):
        raise SelectionError(f"z is {settings.z}; a finite number is needed, such as 0.5")
    if settings.rank_by not in get_args(RankBy):
        raise SelectionError(f"rank_by is {settings.rank_by!r}; allowed are {', '.join(get_args(RankBy))}")
    if culture not in tables.cultures:
        raise UnknownNameError("culture of this run:", culture, tables.cultures)
    if len(tables.cultures) < MIN_CULTURES:
        raise SelectionError(
            f"z needs at least {MIN_CULTURES} cultures, this run has {len(tables.cultures)} "
            f"({', '.join(tables.cultures)}); score more cultures"
        )
    exclusion = None
    if tables.exclusion is not None and settings.exclude > 0:
        if culture not in tables.exclusion.cultures:
            raise SelectionError(
                f"the exclusion benchmark has no items of {culture!r}, only of "
                f"{', '.join(tables.exclusion.cultures)}; choose one of these, or go on without it: "
                "--no-exclusion or --exclude 0"
            )
        exclusion = tables.exclusion.rows([culture])[0]
    from culnig.core.statistics import zscores_over_cultures  # scipy: a general selection starts without it

    row = tables.cultures.index(culture)
    own = culture_scores(tables.difference, row, settings.rank_by)
    cut = cut_pool(
        pool_positions(tables.layout, settings.pool), own, settings.top, exclusion, settings.exclude
    )
    z = zscores_over_cultures(tables.difference[:, cut.kept])[row]
    kept = cut.kept[z >= settings.z]
    return NeuronSet(
        name=f"specific {culture}",
        model=tables.model,
        layout_hash=tables.layout.hash,
        method={
            "name": "specific",
            "culture": culture,
            **asdict(settings),
            "pools": {
                settings.pool: {
                    "neurons": cut.n_pool,
                    "before_exclusion": cut.n_before_exclusion,
                    "before_z": len(cut.kept),
                    "kept": len(kept),
                }
            },
        },
        sources=[tables.source],
        neurons=tuple(tables.layout.neurons(kept)),
        scores=own[kept],
    )


def culture_scores(
    difference: NDArray[np.float64], row: int, rank_by: RankBy = "difference"
) -> NDArray[np.float64]:
    """What the neurons of a culture are ranked by, (neuron,), from target − control (culture, neuron)."""
    own: NDArray[np.float64] = difference[row]
    return own - difference.mean(axis=0) if rank_by == "margin" else own
