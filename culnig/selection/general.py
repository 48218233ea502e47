"""Culture-general neurons (METHOD §3: Yamamoto et al. 2026, arXiv 2510.08284)."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from culnig.selection.neuron_set import NeuronSet
from culnig.selection.ranking import check_fraction, cut_pool
from culnig.selection.tables import SelectionTables


@dataclass(frozen=True)
class GeneralSettings:
    """Fractions of the two pools, which are ranked separately."""

    top_mlp: float = 0.01
    """Share of the pool `mlp` that is kept by target − control, summed over all cultures."""
    top_attention: float = 0.002
    """The same for the pool `attention`."""
    exclude: float = 0.01
    """Share of each pool, by exclusion score, that is removed from what was kept."""


def select_general(tables: SelectionTables, settings: GeneralSettings | None = None) -> NeuronSet:
    """Neurons that matter for all cultures together, best first, the two pools merged by score."""
    settings = settings or GeneralSettings()
    for name, fraction in asdict(settings).items():
        check_fraction(name, fraction)
    total = tables.difference.sum(axis=0)
    exclusion = None if tables.exclusion is None else tables.exclusion.culture_scores.sum(axis=0)
    cuts = {
        pool: cut_pool(tables.layout.pool(pool), total, fraction, exclusion, settings.exclude)
        for pool, fraction in (("mlp", settings.top_mlp), ("attention", settings.top_attention))
    }
    kept = np.concatenate([cut.kept for cut in cuts.values()])
    kept = kept[np.lexsort((kept, -total[kept]))]
    return NeuronSet(
        name="general",
        model=tables.model,
        layout_hash=tables.layout.hash,
        method={
            "name": "general",
            **asdict(settings),
            "pools": {
                pool: {
                    "neurons": cut.n_pool,
                    "before_exclusion": cut.n_before_exclusion,
                    "kept": len(cut.kept),
                }
                for pool, cut in cuts.items()
            },
        },
        sources=[tables.source],
        neurons=tuple(tables.layout.neurons(kept)),
        scores=total[kept],
    )
