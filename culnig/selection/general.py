"""Culture-general neurons (docs/method.md; Yamamoto et al. 2026, arXiv 2510.08284)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from culnig.selection.neuron_set import NeuronSet
from culnig.selection.ranking import check_disjoint, check_fraction, cut_pool
from culnig.selection.tables import GeneralTotals, SelectionTables


@dataclass(frozen=True)
class GeneralSettings:
    """How much of each pool is kept; pools are ranked separately."""

    top_mlp: float = 0.01
    """Share of the pool `mlp` to keep, ranked by target − control summed over all cultures."""
    top_attention: float = 0.002
    """The same for the pool `attention`."""
    exclude: float = 0.01
    """Share of each pool, ranked by exclusion score, to remove from the kept neurons."""
    pools: tuple[tuple[str, float], ...] = ()
    """Pairs of a pool or module and the share to keep, which replace `mlp` and `attention`."""

    @property
    def cuts(self) -> dict[str, float]:
        """Share to keep of each pool."""
        return dict(self.pools) or {"mlp": self.top_mlp, "attention": self.top_attention}

    def record(self) -> dict[str, Any]:
        """The settings as a neuron set's method records them."""
        if self.pools:
            return {"top": self.cuts, "exclude": self.exclude}
        return {name: value for name, value in asdict(self).items() if name != "pools"}


def select_general(
    tables: SelectionTables | GeneralTotals, settings: GeneralSettings | None = None
) -> NeuronSet:
    """Neurons that matter for all cultures together, best first; the pools are merged by score."""
    settings = settings or GeneralSettings()
    for name, fraction in {**asdict(settings), **settings.cuts}.items():
        if name != "pools":
            check_fraction(name, fraction)
    totals = tables.totals if isinstance(tables, SelectionTables) else tables
    total, exclusion = totals.difference, totals.exclusion
    pools = {pool: totals.layout.pool(pool) for pool in settings.cuts}
    check_disjoint(list(pools))
    cuts = {
        pool: cut_pool(pools[pool], total, fraction, exclusion, settings.exclude)
        for pool, fraction in settings.cuts.items()
    }
    kept = np.concatenate([cut.kept for cut in cuts.values()])
    kept = kept[np.lexsort((kept, -total[kept]))]
    return NeuronSet(
        name="general",
        model=totals.model,
        layout_hash=totals.layout.hash,
        method={
            "name": "general",
            **settings.record(),
            "pools": {
                pool: {
                    "neurons": cut.n_pool,
                    "before_exclusion": cut.n_before_exclusion,
                    "kept": len(cut.kept),
                }
                for pool, cut in cuts.items()
            },
        },
        sources=[totals.source],
        neurons=tuple(totals.layout.neurons(kept)),
        scores=total[kept],
    )
