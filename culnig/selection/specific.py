"""Culture-specific neurons (docs/method.md; Yamamoto et al. 2026, arXiv 2510.08284)."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from culnig.errors import SelectionError, UnknownNameError, option
from culnig.selection.culture_ranking import SHRINK, RankBy, check_ranking, culture_scores
from culnig.selection.neuron_set import NeuronSet
from culnig.selection.ranking import check_fraction, cut_pool
from culnig.selection.tables import SelectionTables

MIN_CULTURES = 3


@dataclass(frozen=True)
class SpecificSettings:
    """The pool, how much of it is kept, and the lowest z."""

    top: float = 0.003
    """Share of the pool to keep, ranked by the culture's target − control (see `rank_by`)."""
    exclude: float = 0.01
    """Share of the pool, ranked by the culture's exclusion score, to remove from the kept neurons."""
    z: float = 0.5
    """Lowest z-score of the culture's target − control among all cultures."""
    pool: str = "all"
    """Pool or module whose neurons are ranked."""
    rank_by: RankBy = "difference"
    """The score that neurons are ranked by (`culnig.selection.culture_ranking`)."""
    shrink: float | None = None
    """Quantile of the neurons' spread over cultures that is s₀, for the rankings that have one; None: 0.5."""


def select_specific(
    tables: SelectionTables, culture: str, settings: SpecificSettings | None = None
) -> NeuronSet:
    """Neurons that matter for one culture more than for the others, best first."""
    settings = settings or SpecificSettings()
    check_fraction("top", settings.top)
    check_fraction("exclude", settings.exclude)
    if not math.isfinite(settings.z):
        raise SelectionError(f"z is {settings.z}; give a finite number, such as 0.5")
    check_ranking(settings.rank_by, settings.shrink)
    if culture not in tables.cultures:
        raise UnknownNameError("culture of this run:", culture, tables.cultures)
    if len(tables.cultures) < MIN_CULTURES:
        raise SelectionError(
            f"z needs at least {MIN_CULTURES} cultures, but this run has {len(tables.cultures)} "
            f"({', '.join(tables.cultures)}); score more cultures"
        )
    exclusion = None
    if tables.exclusion is not None and settings.exclude > 0:
        if culture not in tables.exclusion.cultures:
            raise SelectionError(
                f"the exclusion benchmark has no items of {culture!r}, only of "
                f"{', '.join(tables.exclusion.cultures)}; choose one of these, or select without exclusion: "
                f"{option('exclusion', False)} or {option('exclude', 0)}"
            )
        exclusion = tables.exclusion.rows([culture])[0]
    from culnig.core.statistics import (
        zscores_over_cultures,
    )  # imports scipy, which a general selection does not need

    row = tables.cultures.index(culture)
    pool = tables.layout.pool(settings.pool)
    own, s0 = culture_scores(tables.difference, row, settings.rank_by, pool, settings.shrink)
    cut = cut_pool(pool, own, settings.top, exclusion, settings.exclude)
    z = zscores_over_cultures(tables.difference[:, cut.kept])[row]
    kept = cut.kept[z >= settings.z]
    return NeuronSet(
        name=f"specific {culture}",
        model=tables.model,
        layout_hash=tables.layout.hash,
        method={
            "name": "specific",
            "culture": culture,
            **_recorded(settings, s0),
            "pools": {
                settings.pool: {
                    "neurons": cut.n_pool,
                    "before_exclusion": cut.n_before_exclusion,
                    "before_z": len(cut.kept),
                    "kept": len(kept),
                },
            },
        },
        sources=[tables.source],
        neurons=tuple(tables.layout.neurons(kept)),
        scores=own[kept],
    )


def _recorded(settings: SpecificSettings, s0: float | None) -> dict[str, Any]:
    """The settings as a neuron set records them; `shrink` and s₀ only where they matter."""
    recorded = asdict(settings)
    del recorded["shrink"]
    if s0 is None:
        return recorded
    return {**recorded, "shrink": SHRINK if settings.shrink is None else settings.shrink, "s0": s0}
