"""Neurons with the largest mean score by another method's scorer, without control and exclusion.

CRISPR averages its weighted score over instructions, integrated gradients over prompts. Both averages are the
culture score S of the scorer, whose items are the prompts (docs/method.md, Neighbouring methods).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from culnig.errors import UnknownNameError
from culnig.selection.general import GeneralSettings, select_general
from culnig.selection.neuron_set import NeuronSet
from culnig.selection.tables import SelectionTables

SCORERS = {"crispr": "crispr", "ig": "integrated-gradients"}
"""The scorer whose stored sums each method ranks by."""


@dataclass(frozen=True)
class TopSettings:
    """The pool, and how much of it is kept."""

    top: float = 0.01
    """Share of the pool that is kept."""
    pool: str = "mlp"
    """Pool or module whose neurons are ranked."""


def select_by_scorer(
    tables: SelectionTables, method: str, culture: str | None = None, settings: TopSettings | None = None
) -> NeuronSet:
    """The top neurons for a culture, or for all together; `tables` come from the method's scorer."""
    settings = settings or TopSettings()
    if culture is not None:
        if culture not in tables.cultures:
            raise UnknownNameError("culture of this run:", culture, tables.cultures)
        difference = tables.difference[[tables.cultures.index(culture)]]
        tables = replace(tables, cultures=(culture,), difference=difference, total=None)
    chosen = select_general(
        replace(tables, exclusion=None), GeneralSettings(exclude=0.0, pools=((settings.pool, settings.top),))
    )
    return replace(
        chosen,
        name=method if culture is None else f"{method} {culture}",
        method={
            "name": method,
            **({} if culture is None else {"culture": culture}),
            "top": settings.top,
            "pools": {
                pool: {"neurons": counts["neurons"], "kept": counts["kept"]}
                for pool, counts in chosen.method["pools"].items()
            },
        },
    )
